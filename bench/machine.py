"""The machine line and the order statistics that every benchmark prints."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def machine_line() -> str:
    """Processor, cores, memory and versions in one line."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    versions = ", ".join(
        f"{n} {importlib.metadata.version(n)}" for n in ("duckdb", "pyarrow", "numba", "sqlglot", "dbos", "fastapi")
    )
    return f"{model}, {os.cpu_count()} cores, {memory} GiB, Python {platform.python_version()}, {versions}"


def report() -> dict[str, Any]:
    """The beginning of a report: the machine, and how many programs wanted its cores in the minute before."""
    return {"machine": machine_line(), "load_before": round(os.getloadavg()[0], 1)}


def quantile(values: Sequence[float], share: float) -> float:
    """The value at `share` (0 to 1) of the sorted values, nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Sequence[float]) -> str:
    """Median, with 95th percentile and minimum."""
    return f"p50 {quantile(values, 0.5):8.3f}  p95 {quantile(values, 0.95):8.3f}  min {min(values):8.3f}"
