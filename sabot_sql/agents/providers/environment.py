"""The environment of processes that run tasks; imports next to nothing, because it must be set before much is imported."""

from __future__ import annotations

from sabot_sql.executor.child_environment import inherited


def environment(slots: int) -> dict[str, str]:
    """The environment of fork server and agents: no library may start threads at import, or more than the slots later."""
    return {
        **inherited(),
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
        "OMP_NUM_THREADS": str(slots),
        "ARROW_IO_THREADS": "2",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        "GRPC_VERBOSITY": "NONE",
    }
