"""The environment of processes that run tasks; imports nothing, because it must be set before much is imported."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path


def environment(slots: int) -> dict[str, str]:
    """The environment of fork server and agents: no library may start threads at import, or more than the slots later."""
    package_parent = str(Path(__file__).resolve().parents[3])
    path = os.environ.get("PYTHONPATH", "")
    if package_parent not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        path = os.pathsep.join(filter(None, (package_parent, path)))
    return {
        **os.environ,
        **({"PYTHONPATH": path} if path else {}),
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
        "OMP_NUM_THREADS": str(slots),
        "ARROW_IO_THREADS": "2",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        "GRPC_VERBOSITY": "NONE",
    }
