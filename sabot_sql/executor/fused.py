"""The expressions of one operator as one function, as soon as there is machine code for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sabot_sql.executor.columns import Array, flat
from sabot_sql.executor.fused_code import FusedCode
from sabot_sql.executor.fused_source import Program, is_small_enough, write
from sabot_sql.planner.expressions import Expr, references

MIN_ROWS = 1 << 15
"""Rows of an operator from which it looks for a function: writing one takes as long as evaluating thousands of rows."""

CODE = FusedCode()


class Fused:
    """`exprs`, for all of which `has_kernel` and `is_word` hold, over batches. Thread-safe: what two threads do at once is done
    twice.

    Args:
        code: where machine code comes from.

    Attributes:
        rows_done: for which a function has worked the expressions out.
    """

    def __init__(self, exprs: Sequence[Expr], code: FusedCode = CODE) -> None:
        self.exprs = tuple(exprs)
        self.code = code
        self._columns = sorted({i for e in self.exprs for i in references(e)})
        self._is_tried = bool(self._columns) and is_small_enough(self.exprs)
        self._rows = 0
        self.rows_done = 0
        self._lock = threading.Lock()
        self._programs: dict[bool, Program] = {}

    def run(self, batch: pa.RecordBatch) -> list[tuple[Array, Array | None]] | None:
        """Values and flags of each expression for each row; None where the interpreter must evaluate: there is no function yet,
        or a number may have overflowed.

        Values are of the dtype of their Arrow type, those of BOOLEAN uint8[n], 1 where true. Flags are uint8[n], 1 where not
        NULL, or None for no NULL.
        """
        self._rows += batch.num_rows
        if not self._is_tried or self._rows < MIN_ROWS or not batch.num_rows:
            return None
        with_nulls = any(batch.column(i).null_count for i in self._columns)
        if with_nulls not in self._programs:
            self._programs[with_nulls] = write(self.exprs, with_nulls)
        program = self._programs[with_nulls]
        function = self.code.get(program, self.exprs, batch.num_rows)
        found = None if function is None else call(function, program, batch)
        if found is not None:
            with self._lock:
                self.rows_done += batch.num_rows
        return found


def call(function: Callable[..., Any], program: Program, batch: pa.RecordBatch) -> list[tuple[Array, Array | None]] | None:
    """What `function`, of `program`, gives for `batch`; None when it has seen an overflow, or `batch` lies otherwise."""
    length = batch.num_rows
    columns, flags = [], []
    for index, dtype in zip(program.columns, program.column_dtypes):
        values, valid = flat(batch.column(index))
        if values.dtype != dtype or values.ndim != 1:
            return None
        columns.append(values)
        if program.with_nulls:
            flags.append(np.ones(length, np.uint8) if valid is None else valid)
    for array in (*columns, *flags):
        array.flags.writeable = False  # as the function is declared
    outputs = [np.empty(length, dtype) for dtype in program.output_dtypes]
    known = [np.empty(length, np.uint8) if has else None for has in program.output_flags]
    filled = [k for k in known if k is not None]
    constants = np.array(program.words, np.int64), np.array(program.floats, np.float64)
    for array in constants:
        array.flags.writeable = False
    if function(*columns, *flags, *constants, *outputs, *filled):
        return None
    return list(zip(outputs, known))
