"""What a client would rather have: the header `Prefer` (RFC 7240)."""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFERENCE = re.compile(r'([\w!#$%&\'*+.^`|~-]+)(?:\s*=\s*(?:"([^"]*)"|([^\s,;"]*)))?[^,]*')


@dataclass(frozen=True, slots=True)
class Preferences:
    """What is understood of a `Prefer`: `wait` in seconds, and `respond-async`. All else is passed over, as the RFC wants."""

    wait_s: int | None = None
    respond_async: bool = False

    def wait_ms(self, most_ms: int) -> int | None:
        """How long an answer may be waited for, at most `most_ms`; None where nothing is said of it."""
        if self.wait_s is not None:
            return min(most_ms, self.wait_s * 1000)
        return 0 if self.respond_async else None

    @property
    def applied(self) -> str:
        """The value of `Preference-Applied`."""
        wait = [] if self.wait_s is None else [f"wait={self.wait_s}"]
        return ", ".join(["respond-async", *wait] if self.respond_async else wait)


def read_preferences(header: str | None) -> Preferences:
    """The preferences of a request; of one that is given again the first counts.

    Example:
        >>> read_preferences('respond-async, Wait=10; x="y"')
        Preferences(wait_s=10, respond_async=True)
    """
    found: dict[str, str] = {}
    for name, quoted, plain in PREFERENCE.findall(header or ""):
        found.setdefault(name.lower(), quoted or plain)
    wait = found.get("wait", "")
    wait_s = int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 10 else None
    return Preferences(wait_s, "respond-async" in found)
