"""The order of a batch's rows under sort keys, as DuckDB orders: NaN greatest, strings by their bytes, ties as they came.

The key columns become steps: fixed-width ones a number of bits each, strings bytes without end. A piece of work packs as many
bits of the next steps as fit into one uint64 a row, sorts these by radix, and leaves its ties to further pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sabot_sql.executor.columns import NO_FLAGS, Array, Column, unwrap
from sabot_sql.executor.kernels import gathering, sorting
from sabot_sql.executor.kernels.hashing import canonical_floats
from sabot_sql.executor.kernels.joining import key_bounds
from sabot_sql.executor.operator import TaskContext
from sabot_sql.planner.physical import SortKey
from sabot_sql.types import Lane, Schema

STEP = 1 << 20  # rows a kernel takes between two looks at the cancel flag
PIECE = 1 << 17  # rows of ties that go into one piece of work; more only where they are one run
SHORT = 24  # rows of a run up to which strings are compared as a whole
NO_ROWS: Array = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Words:
    """A fixed-width column, or half of one: `bits` of code a row (see `sorting.pack_words`)."""

    words: Array
    valid: Array
    low: int
    high: int
    descending: bool
    lift: int
    null_code: int
    bits: int


@dataclass(frozen=True, slots=True)
class Strings:
    """A column of byte strings."""

    column: Column
    descending: bool
    nulls_first: bool


Step = Words | Strings


@dataclass(frozen=True, slots=True)
class Piece:
    """Runs of ties to be ordered further.

    Attributes:
        positions (int64[m]): of the rows in the order, ascending.
        runs (int64[m]): the run each is in, numbered from 0; empty for one run.
        step: the first step they may differ in.
        offset: the bits (Words) or bytes (Strings) of it that they are known to share.
    """

    positions: Array
    runs: Array
    step: int
    offset: int


def first_rows(batch: pa.RecordBatch, keys: Sequence[SortKey], types: Schema, stop: int, context: TaskContext) -> Array:
    """The rows of `batch` in order (int64[n]); behind position `stop` the order may be unfinished."""
    steps = [step for key in keys for step in _steps(unwrap(batch.column(key.index), types[key.index].type), key)]
    order = np.arange(batch.num_rows)
    pending = [Piece(order.copy(), NO_ROWS, 0, 0)] if batch.num_rows > 1 else []
    while pending:
        context.check()
        piece = pending.pop()
        if piece.step < len(steps):
            pending += _sort(piece, steps, order, stop, context)
    return order


def ordered_words(column: Column) -> Array:
    """int64[n] that order as the values do; WIDE and BYTES: where words differ, so do the values, in the same order."""
    if column.lane is Lane.INT:
        assert column.values is not None
        return column.values
    words = np.empty(column.length, np.int64)
    match column.lane:
        case Lane.UINT:
            sorting.order_unsigned(column.values, words)
        case Lane.FLOAT:
            assert column.values is not None
            canonical_floats(column.values, column.values.view(np.uint64), words)
            sorting.order_floats(words, words)
        case Lane.WIDE:
            assert column.high is not None
            return column.high
        case Lane.BYTES:
            sorting.order_prefixes(column.offsets, column.data, words)
    return words


def _steps(column: Column, key: SortKey) -> Iterator[Step]:
    if column.lane is Lane.BYTES:
        yield Strings(column, key.descending, key.nulls_first)
        return
    yield from _words(ordered_words(column), column.flags, key, True)
    if column.lane is Lane.WIDE:
        low = np.empty(column.length, np.int64)
        sorting.order_unsigned(column.values, low)
        yield from _words(low, column.flags, key, False)


def _words(words: Array, valid: Array, key: SortKey, place_nulls: bool) -> Iterator[Words]:
    bounds = np.zeros(2, np.int64)
    count = key_bounds(words, valid, bounds)
    low, high = int(bounds[0]), int(bounds[1])
    span = high - low
    if not place_nulls or count in (0, len(words)):
        if span:
            yield Words(words, valid, low, high, key.descending, 0, 0, span.bit_length())
    elif span + 1 < 1 << 64:
        lift, null_code = (1, 0) if key.nulls_first else (0, span + 1)
        yield Words(words, valid, low, high, key.descending, lift, null_code, (span + 1).bit_length())
    else:
        yield Words(valid.astype(np.int64), NO_FLAGS, 0, 1, not key.nulls_first, 0, 0, 1)
        yield Words(words, valid, low, high, key.descending, 0, 0, 64)


def _sort(piece: Piece, steps: Sequence[Step], order: Array, stop: int, context: TaskContext) -> Iterator[Piece]:
    """Order the rows of a piece by the next bits; gives the pieces that are left."""
    size = len(piece.positions)
    index_bits = (size - 1).bit_length()
    run_bits = int(piece.runs[-1]).bit_length() if len(piece.runs) else 0
    room = 64 - index_bits - run_bits
    rows = np.empty(size, np.int64)
    gathering.take_fixed(order.view(np.uint64), piece.positions, rows.view(np.uint64))
    step = steps[piece.step]
    keys = np.empty(size, np.uint64)
    mask = value = 0
    if isinstance(step, Strings):
        depth = piece.offset
        if depth or step.column.valid is None:
            depth += int(sorting.shared_bytes(step.column.offsets, step.column.data, rows, piece.runs, depth))
        width = min(7, (room - 4) // 8)
        bits = 8 * width + 4
        _start(piece, index_bits + bits, keys)
        _pack_strings(step, rows, depth, width, index_bits, keys, context)
        mask = 15 << index_bits
        value = (13 - width if step.descending else width + 2) << index_bits
        after = (piece.step + 1, 0)
    else:
        bits, after, pieces = _fit(steps, piece, min(room, max(8, (index_bits + 13) // 8 * 8)), room)
        _start(piece, index_bits + bits, keys)
        shift = index_bits + bits
        for each, drop, taken in pieces:
            shift -= taken
            _pack_words(each, rows, drop, taken, shift, keys, context)
    keys = radix_sort(keys, index_bits, index_bits + bits + run_bits, context)
    for first in range(0, size, STEP):
        context.check()
        part = slice(first, first + STEP)
        sorting.place_rows(keys[part], (1 << index_bits) - 1, rows, piece.positions[part], order)
    last = int(np.searchsorted(piece.positions, stop))
    if after[0] < len(steps):
        for positions, runs in _ties(piece, keys, index_bits, (mask, value, -1 if mask else 0, size), last):
            yield Piece(positions, runs, *after)
    if not isinstance(step, Strings):
        return
    for positions, runs in _ties(piece, keys, index_bits, (mask, value, SHORT + 1, size), last):
        yield Piece(positions, runs, piece.step, depth + width)
    for positions, runs in _ties(piece, keys, index_bits, (mask, value, 0, SHORT), last):
        context.check()
        tied, tied_runs = np.empty(len(runs), np.int64), np.empty(len(runs), np.int64)
        column = step.column
        count = sorting.sort_short_runs(
            column.offsets, column.data, positions, runs, depth + width, int(step.descending), order, tied, tied_runs
        )
        if count and after[0] < len(steps):
            yield Piece(tied[:count], tied_runs[:count], *after)


def _start(piece: Piece, shift: int, keys: Array) -> None:
    sorting.start_keys(piece.runs, min(shift, 63), 0, keys)


def _fit(
    steps: Sequence[Step], piece: Piece, wanted: int, room: int
) -> tuple[int, tuple[int, int], list[tuple[Words, int, int]]]:
    """Which bits of the next steps go into the keys: their number, where the next piece goes on, and for each column (step,
    bits dropped below, bits taken). About as many as are `wanted` to tell rows apart; all that are left, if not many more."""
    at, offset = piece.step, piece.offset
    left = 0
    for step in steps[at:]:
        if isinstance(step, Strings):
            break
        left += step.bits
    left -= offset
    budget = left if left <= min(room, wanted + 16) else wanted
    total, pieces = 0, []
    while total < budget:
        step = steps[at]
        assert isinstance(step, Words)
        taken = min(step.bits - offset, budget - total)
        pieces.append((step, step.bits - offset - taken, taken))
        total += taken
        offset += taken
        if offset == step.bits:
            at, offset = at + 1, 0
    return total, (at, offset), pieces


def _pack_words(step: Words, rows: Array, drop: int, taken: int, shift: int, keys: Array, context: TaskContext) -> None:
    for first in range(0, len(rows), STEP):
        context.check()
        sorting.pack_words(
            step.words, step.valid, rows[first : first + STEP], step.low, step.high, int(step.descending),
            step.lift, step.null_code, drop, (1 << taken) - 1, shift, keys[first : first + STEP],
        )  # fmt: skip


def _pack_strings(step: Strings, rows: Array, depth: int, width: int, shift: int, keys: Array, context: TaskContext) -> None:
    column = step.column
    for first in range(0, len(rows), STEP):
        context.check()
        sorting.pack_strings(
            column.offsets, column.data, column.flags, rows[first : first + STEP], depth, width, int(step.descending),
            int(step.nulls_first), shift, keys[first : first + STEP],
        )  # fmt: skip


def _ties(
    piece: Piece, keys: Array, index_bits: int, chosen: tuple[int, int, int, int], last: int
) -> Iterator[tuple[Array, Array]]:
    """Positions and runs of equal keys, some at a time; `chosen` is (mask, value, shortest, longest) of `find_ties`."""
    at, runs = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
    count = sorting.find_ties(keys, index_bits, *chosen, last, at, runs)
    first = 0
    while first < count:
        end = min(first + PIECE, count)
        if end < count:
            end = first + int(np.searchsorted(runs[first:count], runs[end - 1], side="right"))
        yield piece.positions[at[first:end]], runs[first:end] - runs[first]
        first = end


def radix_sort(keys: Array, low_bit: int, high_bit: int, context: TaskContext) -> Array:
    """`keys` (uint64[n]) sorted by their bits [low_bit, high_bit), stable; may be the array given, which is overwritten."""
    if sorting.is_ascending(keys):
        return keys
    other = np.empty_like(keys)
    for shift in range(low_bit, high_bit, 8):
        counts = np.zeros(256, np.int64)
        for first in range(0, len(keys), STEP):
            context.check()
            sorting.count_digits(keys[first : first + STEP], shift, counts)
        if counts.max() == len(keys):
            continue
        cursors = np.cumsum(counts) - counts
        for first in range(0, len(keys), STEP):
            context.check()
            sorting.scatter_digits(keys[first : first + STEP], shift, cursors, other)
        keys, other = other, keys
    return keys
