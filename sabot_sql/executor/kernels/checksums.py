"""Checksums of bytes that another process has written, or is to read."""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import I64, U8, i64, kernel, u64
from sabot_sql.executor.kernels.hashing import mix64, xxh64

_U = np.uint64

POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits reversed
ALL_ONES = 0xFFFFFFFF


def _crc32c_tables() -> Any:
    """int64[8 * 256]: what a byte that lies 0 to 7 bytes before the end of a word adds to the CRC."""
    one = np.arange(256, dtype=np.int64)
    for _ in range(8):
        one = np.where(one & 1, (one >> 1) ^ POLYNOMIAL, one >> 1)
    tables = [one]
    for _ in range(7):
        tables.append((tables[-1] >> 8) ^ one[tables[-1] & 255])
    return np.concatenate(tables)


CRC32C_TABLES = _crc32c_tables()


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


@kernel(i64(U8, I64))
def crc32c(data: Any, tables: Any) -> Any:
    """The CRC-32C (Castagnoli) of bytes, as iSCSI and object stores use it (RFC 3720, B.4); eight bytes at a time ("slicing by
    eight", Kounavis and Berry 2005).

    Args:
        data: the bytes.
        tables: `CRC32C_TABLES`.
    """
    crc = ALL_ONES
    size = len(data)
    whole = size - size % 8
    for i in range(0, whole, 8):
        a = (crc & 255) ^ np.int64(data[i])
        b = ((crc >> 8) & 255) ^ np.int64(data[i + 1])
        c = ((crc >> 16) & 255) ^ np.int64(data[i + 2])
        d = (crc >> 24) ^ np.int64(data[i + 3])
        crc = tables[1792 + a] ^ tables[1536 + b] ^ tables[1280 + c] ^ tables[1024 + d]
        crc ^= tables[768 + np.int64(data[i + 4])] ^ tables[512 + np.int64(data[i + 5])]
        crc ^= tables[256 + np.int64(data[i + 6])] ^ tables[np.int64(data[i + 7])]
    for i in range(whole, size):
        crc = (crc >> 8) ^ tables[(crc ^ np.int64(data[i])) & 255]
    return crc ^ ALL_ONES
