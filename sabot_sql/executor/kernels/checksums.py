"""Checksums of bytes that another process has written."""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import I64, U8, kernel, u64
from sabot_sql.executor.kernels.hashing import mix64, xxh64

_U = np.uint64


@kernel(u64(U8, I64))
def checksum(data: Any, spans: Any) -> Any:
    """The checksum of parts of a file: XXH64 of each, in sequence. A changed byte always changes it but for one chance in 2^64.

    Args:
        data: the file's bytes.
        spans: int64, begin and end of each part in turn.
    """
    total = _U(len(spans))
    for i in range(0, len(spans), 2):
        total = mix64(total ^ xxh64(data, spans[i], spans[i + 1] - spans[i]))
    return total
