"""Machines, as far as the network goes: namespaces with an address each, on one bridge, whose links can be cut."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
from collections.abc import Iterator, Sequence


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@functools.cache
def is_possible() -> bool:
    """Whether this process may make network namespaces and join them."""
    name = f"sabot-probe-{os.getpid()}"
    try:
        ip("netns", "add", name)
        try:
            ip("link", "add", name[-12:], "type", "veth", "peer", "name", "inside", "netns", name)
            ip("link", "del", name[-12:])
        finally:
            ip("netns", "del", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


class Network:
    """So many machines and the one that all this runs on.

    Attributes:
        here: the address of this machine.
        addresses: those of the others.
    """

    def __init__(self, machines: int) -> None:
        number = os.getpid() % 250
        self.here = f"10.213.{number}.1"
        self.addresses = [f"10.213.{number}.{i + 2}" for i in range(machines)]
        self._bridge = f"sabot{number}"
        self._names = [f"sabot{number}-{i}" for i in range(machines)]
        self._made: list[str] = []
        self._cuts: set[tuple[str, str]] = set()

    def make(self) -> None:
        ip("link", "add", self._bridge, "type", "bridge")
        ip("addr", "add", f"{self.here}/24", "dev", self._bridge)
        ip("link", "set", self._bridge, "up")
        for name, address in zip(self._names, self.addresses):
            ip("netns", "add", name)
            self._made.append(name)
            ip("link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"v{name}", "master", self._bridge, "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")

    def remove(self) -> None:
        for name in self._made:
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("link", "del", self._bridge)

    def enter(self, machine: int) -> Sequence[str]:
        """The beginning of a command that is to run on a machine."""
        return ("ip", "netns", "exec", self._names[machine])

    def cut(self, machine: int, *others: int) -> None:
        """Drop what goes from a machine to others and back, without a word to either; to all, and to this one, where none are
        named."""
        for other in others:
            self._drop(machine, self.addresses[other])
            self._drop(other, self.addresses[machine])
        if not others:
            for address in (self.here, *self.addresses):
                if address != self.addresses[machine]:
                    self._drop(machine, address)

    def heal(self) -> None:
        """Mend all links."""
        for name, address in self._cuts:
            ip("-n", name, "route", "del", "blackhole", f"{address}/32")
        self._cuts.clear()

    def _drop(self, machine: int, address: str) -> None:
        if (self._names[machine], address) not in self._cuts:
            ip("-n", self._names[machine], "route", "add", "blackhole", f"{address}/32")
            self._cuts.add((self._names[machine], address))


@contextlib.contextmanager
def network(machines: int) -> Iterator[Network]:
    """A network that goes with the block."""
    found = Network(machines)
    try:
        found.make()
        yield found
    finally:
        found.remove()
