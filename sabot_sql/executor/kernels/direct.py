"""Groups of integer keys that lie close together: an array from a code of the keys to the group, without hashing.

The code of a row is made column by column, each with `span` codes of its own: 0 is NULL, 1 the least value `low`, and so on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sabot_sql.executor.kernels.compile import I64, OUT_I64, U8, i64, kernel

_U = np.uint64


@kernel(i64(I64, U8, i64, i64, OUT_I64))
def append_codes(values: Any, valid: Any, low: Any, span: Any, codes: Any) -> Any:
    """codes (int64[n]) = codes * span + the code of each of values (int64[n]); valid (uint8[n]) may be empty: no NULLs.

    Returns:
        How many values are outside; their codes are anything from 0 up to the last one.
    """
    outside: Any = np.int64(0)
    last = _U(span) - _U(1)
    for i in range(len(codes)):
        above = _U(values[i]) - _U(np.int64(low))
        within: Any = np.int64(above < last)
        code: Any = np.int64(above) * within + 1
        if len(valid) != 0 and valid[i] == 0:
            code = np.int64(0)
            within = np.int64(1)
        outside += 1 - within
        codes[i] = codes[i] * span + code
    return outside


@kernel(i64(I64, I64, OUT_I64))
def look_up(codes: Any, groups: Any, out: Any) -> Any:
    """out (int64[n]) = the groups (int64[...], -1 for none yet) of codes (int64[n]); returns how many have none."""
    unknown: Any = np.int64(0)
    for i in range(len(codes)):
        group = groups[_U(codes[i])]
        out[i] = group
        unknown += np.int64(group < 0)
    return unknown
