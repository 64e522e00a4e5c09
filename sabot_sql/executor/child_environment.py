"""What every process that is started from here needs in its environment; imports nothing, because some of it must be set before
much is imported."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path


def inherited() -> dict[str, str]:
    """This process's environment, in which a child also finds this package where it is not installed."""
    package_parent = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH", "")
    if package_parent not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        path = os.pathsep.join(filter(None, (package_parent, path)))
    return {**os.environ, **({"PYTHONPATH": path} if path else {})}
