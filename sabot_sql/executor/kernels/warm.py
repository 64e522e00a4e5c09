"""Have every kernel's machine code ready before it is needed: once in the process that forks the agents.

`sabot_sql.executor.kernel_cache` must have been imported before, or nothing is kept.
"""

from __future__ import annotations

import importlib
import pkgutil

from sabot_sql.executor import kernels
from sabot_sql.executor.kernels.compile import KERNELS


def warm() -> list[str]:
    """Load every kernel from the cache, compiling what is not there, and give their names."""
    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f"{kernels.__name__}.{module.name}")
    for declared in list(KERNELS.values()):
        declared.load()
    return sorted(KERNELS)
