"""How much memory the machine has for this process, and what of it the column caches of its agents may take."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

# limit and use, of version 2 and version 1
CONTROL_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def column_cache_bytes(asked: int | Literal["auto"]) -> int:
    """What hot columns may take in the agents' memory: by itself a quarter of the machine's memory and half of what of that is
    available, whichever is less."""
    if asked != "auto":
        return asked
    total, available = machine_memory()
    return min(total // 4, available // 2)


def machine_memory() -> tuple[int, int]:
    """Bytes of memory that this process may use, by the machine and its control group, and that are available now."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    available = total
    with contextlib.suppress(OSError, ValueError):
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        available = int(lines["MemAvailable"].split()[0]) << 10
    for limit, used in CONTROL_GROUPS:
        with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
            most = int(Path(limit).read_text())
            total = min(total, most)
            available = min(available, max(0, most - int(Path(used).read_text())))
    return total, available
