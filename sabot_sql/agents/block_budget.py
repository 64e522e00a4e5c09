"""How much room the blocks of a pool may take, in shared memory first and then on disk.

What counts is what lies in the pool's folders: every process looks there by itself, so that the account is right again after
whatever became of another process. To keep that cheap, a look is used again while it is young, and a writer is granted more
than it asked for. The limits are therefore kept to within some megabytes a writer.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sabot_sql.errors import OutOfMemory

GRANT_BYTES = 32 << 20  # what a writer is granted at most beyond what it needs
JOB_SHARE = 7, 8  # of a limit that one job may take: the rest is for others while it runs into the limit
LOOK_SHARE = 50  # a look is good for so many times the time it took
LOOK_YOUNG_S, LOOK_OLD_S = 0.005, 1.0
UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with a sub-folder for each job.

    Attributes:
        limit_bytes: what its files may take together.
        keep_free_bytes: what its file system must have left.
        limit_setting, free_setting: what the user sets to change these.
    """

    root: str
    limit_bytes: int = UNLIMITED
    keep_free_bytes: int = 0
    limit_setting: str = "agents.block_disk_bytes"
    free_setting: str = "agents.block_disk_free_bytes"


@dataclass(slots=True)
class Grant:
    """What a writer may write in a place."""

    place: int
    job_id: str
    num_bytes: int


class BlockBudget:
    """Grants room in the first place that has it. Thread-safe; one a process.

    Args:
        places: from the fastest to the last.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = tuple(places)
        self._accounts = [_Account(place) for place in places]
        self._lock = threading.Lock()

    def grant(self, job_id: str, num_bytes: int, first: int = 0, carried_bytes: int = 0) -> Grant:
        """Room for at least `num_bytes` more of a job, in the place number `first` or one after it.

        Args:
            carried_bytes: what must move along to another place than the first.

        Raises:
            OutOfMemory: the last place has no room; it says which setting is in the way.
        """
        with self._lock:
            needed = num_bytes
            for number in range(first, len(self._accounts)):
                account = self._accounts[number]
                room = account.room(job_id, needed, LOOK_YOUNG_S)
                if room < needed and number == len(self._accounts) - 1:
                    room = account.room(job_id, needed, 0.0)
                if room >= needed:
                    granted = needed + min(GRANT_BYTES, (room - needed) // 8)
                    account.promised[job_id] += granted
                    return Grant(number, job_id, granted)
                needed = num_bytes + carried_bytes
            raise self._accounts[-1].refusal(job_id, needed)

    def settle(self, grant: Grant, used_bytes: int) -> None:
        """End a grant, of which `used_bytes` were written."""
        with self._lock:
            account = self._accounts[grant.place]
            account.promised[grant.job_id] -= grant.num_bytes
            account.written[grant.job_id] += used_bytes
            if not account.promised[grant.job_id]:
                del account.promised[grant.job_id]


class _Account:
    """What is known of one place.

    Attributes:
        lying: bytes of each job's files at the last look.
        written: what this process has written since then, by job.
        promised: what it has granted and not yet settled, by job.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.lying: dict[str, int] = {}
        self.written: defaultdict[str, int] = defaultdict(int)
        self.promised: defaultdict[str, int] = defaultdict(int)
        self._looked_s = float("-inf")
        self._took_s = 0.0
        self._room = 0

    def room(self, job_id: str, num_bytes: int, young_s: float) -> int:
        """Bytes that the job may still write here.

        Args:
            young_s: a look of that age is used again when it leaves no room.
        """
        age_s = time.monotonic() - self._looked_s
        room = self._room_now(job_id)
        few = sum(self.written.values()) + sum(self.promised.values()) < self._room // 64
        good = age_s < LOOK_OLD_S and few and room >= num_bytes
        if not good and age_s >= (max(young_s, LOOK_SHARE * self._took_s) if young_s else 0.0):
            self._look()
            room = self._room_now(job_id)
        return room

    def refusal(self, job_id: str, num_bytes: int) -> OutOfMemory:
        """Why there is no room."""
        place, used = self.place, self._used()
        most = place.limit_bytes * JOB_SHARE[0] // JOB_SHARE[1]
        if place.limit_bytes - sum(used.values()) < num_bytes or most - used[job_id] < num_bytes:
            what = f"{place.limit_setting} lets blocks take {size_text(place.limit_bytes)} in {place.root}"
            share = f", one query {size_text(most)} of them" if most - used[job_id] < num_bytes else ""
            held = f"this query holds {size_text(used[job_id])}, all together {size_text(sum(used.values()))}"
            setting = place.limit_setting
        else:
            what = f"{place.free_setting} keeps {size_text(place.keep_free_bytes)} free in {place.root}"
            share, held = "", f"{size_text(self._free())} are left there and this query holds {size_text(used[job_id])}"
            setting = place.free_setting
        variable = f"SABOT_{setting.replace('.', '__').upper()}"
        return OutOfMemory(
            f"no room for what the stages of the query hand to each other: {what}{share}; {held}",
            hint=f"change {setting} ({variable}), or let the query hand on fewer rows or columns",
        )

    def _room_now(self, job_id: str) -> int:
        used, limit = self._used(), self.place.limit_bytes
        room = min(limit - sum(used.values()), limit * JOB_SHARE[0] // JOB_SHARE[1] - used[job_id])
        return min(room, self._free() - self.place.keep_free_bytes - sum(self.promised.values()))

    def _used(self) -> defaultdict[str, int]:
        used = defaultdict(int, self.lying)
        for more in (self.written, self.promised):
            for job_id, num_bytes in more.items():
                used[job_id] += num_bytes
        return used

    def _free(self) -> int:
        try:
            found = os.statvfs(self.place.root)
        except OSError:
            return UNLIMITED  # the writer will see that its folder is gone
        return found.f_bavail * found.f_frsize

    def _look(self) -> None:
        began = time.monotonic()
        self.lying = bytes_by_job(self.place.root)
        self.written.clear()
        self._looked_s = time.monotonic()
        self._took_s = self._looked_s - began
        self._room = max(0, self.place.limit_bytes - sum(self.lying.values()))


def bytes_by_job(root: str) -> dict[str, int]:
    """The bytes of the files in each sub-folder of `root`."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(root) as folders:
        for folder in folders:
            if folder.is_dir(follow_symlinks=False):
                found[folder.name] = _bytes_in(folder.path)
    return found


def _bytes_in(folder: str) -> int:
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as files:
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                total += file.stat(follow_symlinks=False).st_size
    return total


def size_text(num_bytes: int) -> str:
    """Bytes for people.

    Example:
        >>> size_text(1_500_000_000), size_text(2000)
        ('1.5 GB', '2.0 kB')
    """
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= scale:
            return f"{num_bytes / scale:,.1f} {unit}"
    return f"{num_bytes} bytes"
