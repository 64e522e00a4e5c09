"""Runs of rows with equal keys, one after the other."""

from __future__ import annotations

from typing import Any

from sabot_sql.executor.kernels.compile import I64, OUT_I64, OUT_U8, U8, i64, inline, kernel, void
from sabot_sql.executor.kernels.interning import same_bytes


@kernel(void(I64, U8, OUT_U8))
def mark_words(values: Any, valid: Any, starts: Any) -> None:
    """starts[i] (uint8[n]) becomes 1 where values[i] (int64[n]) is another one than that before; NULL equals NULL.

    valid: uint8[n], or empty for no NULL.
    """
    if len(valid) == 0:
        for i in range(1, len(values)):
            starts[i] |= values[i] != values[i - 1]
    else:
        for i in range(1, len(values)):
            starts[i] |= (valid[i] != valid[i - 1]) | ((valid[i] != 0) & (values[i] != values[i - 1]))


@inline
def _same(data: Any, a: Any, b: Any, length: Any) -> Any:
    """Whether data[a : a + length] == data[b : b + length]."""
    if length >= 8:
        return same_bytes(data, a, data, b, length)
    k = 0
    while k < length and data[a + k] == data[b + k]:
        k += 1
    return k == length


@kernel(void(I64, U8, U8, OUT_U8))
def mark_bytes(offsets: Any, data: Any, valid: Any, starts: Any) -> None:
    """As `mark_words`, of the strings between offsets (int64[n + 1]) in data (uint8[...])."""
    for i in range(1, len(offsets) - 1):
        if len(valid) != 0:
            if valid[i] != valid[i - 1]:
                starts[i] = 1
            if valid[i] == 0 or valid[i - 1] == 0:
                continue
        length = offsets[i + 1] - offsets[i]
        if length != offsets[i] - offsets[i - 1] or not _same(data, offsets[i - 1], offsets[i], length):
            starts[i] = 1


@kernel(i64(U8, OUT_I64, OUT_I64))
def number_runs(starts: Any, groups: Any, firsts: Any) -> Any:
    """groups (int64[n]) = the number of the run of each row; firsts (int64[n]) = where each run begins.

    starts (uint8[n]): 1 where a row begins a run, row 0 aside, which does.

    Returns:
        How many runs there are.
    """
    run: Any = 0
    for i in range(len(starts)):
        if i != 0:
            run += starts[i]
        groups[i] = run
        firsts[run] = i if i == 0 or starts[i] != 0 else firsts[run]
    return run + 1 if len(starts) != 0 else 0


def warm() -> None:
    """Have every kernel of this file compiled."""
    for each in (mark_words, mark_bytes, number_runs):
        each.load()
