"""Tells the kernels where to keep their machine code; imported by whatever calls a kernel.

`python -m sabot_sql.executor.kernel_cache` fills the folder.

The folder is named after the kernels' sources and the versions of numba and numpy, because numba notices a change in the file
of a kernel but not in the files of the functions it calls.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numba
import numpy as np

from sabot_sql.config import kernel_cache_dir
from sabot_sql.executor.kernels import compile as compiler


def source_fingerprint() -> str:
    """A short name for the present state of all kernels."""
    digest = hashlib.blake2b(f"{numba.__version__} {np.__version__}".encode(), digest_size=8)
    for path in sorted(Path(compiler.__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _usable(folder: Path) -> bool:
    """Whether `folder` is ours and can be written: machine code of another user is not loaded."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = folder.stat()
    except OSError:
        return False
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def prepare() -> Path:
    """Choose the folder and tell the kernels; a private temporary one where the configured one cannot be used."""
    folder = kernel_cache_dir() / source_fingerprint()
    if not _usable(folder):
        user = os.getuid() if hasattr(os, "getuid") else 0
        folder = Path(tempfile.gettempdir()) / f"sabot-sql-kernels-{user}" / source_fingerprint()
        if not _usable(folder):
            folder = Path(tempfile.mkdtemp(prefix="sabot-sql-kernels-"))
    compiler.cache_in(folder)
    return folder


FOLDER = prepare()

if __name__ == "__main__":
    from sabot_sql.executor.kernels.warm import warm

    print(f"{len(warm())} kernels are ready in {FOLDER}")
