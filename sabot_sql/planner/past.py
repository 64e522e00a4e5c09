"""What earlier runs of a statement of the same shape did, and an estimate that has learnt from them."""

from __future__ import annotations

from dataclasses import dataclass

from sabot_sql.planner.estimate import Estimate


@dataclass(frozen=True, slots=True)
class Past:
    """What a statement is expected to do by its history. A figure that was never counted, or that differed too much from run
    to run, is None.

    Attributes:
        runs: how many runs it rests on.
        same: whether the last of them was of the very same statement over the same files.
        rows_scanned: rows read, after files and row groups that a predicate rules out.
        work: the larger of that and the rows of the largest intermediate result.
        local_ms, distributed_ms: time from the statement to its answer, waiting for a turn left out.
        local_runs, distributed_runs: how many runs these rest on.
    """

    runs: int
    same: bool = False
    rows_out: int | None = None
    rows_scanned: int | None = None
    work: int | None = None
    local_ms: float | None = None
    distributed_ms: float | None = None
    local_runs: int = 0
    distributed_runs: int = 0


def learnt(guess: Estimate, past: Past) -> Estimate:
    """`guess` with the rows that earlier runs counted; rows that are known exactly stay as they are.

    Example:
        >>> guess = Estimate(1_000, 5_000_000, 900, 0, "statistics")
        >>> found = learnt(guess, Past(3, rows_out=7, rows_scanned=1_000, work=1_000))
        >>> found.work, found.rows_out, found.confidence
        (1000, 7, 'history')
    """
    scanned, made, confidence = guess.rows_scanned, guess.rows_intermediate, guess.confidence
    if past.work is not None and past.rows_scanned is not None and confidence != "exact":
        scanned, made, confidence = past.rows_scanned, past.work, "history"
    elif past.rows_out is None:
        return guess
    out = guess.rows_out if past.rows_out is None else past.rows_out
    runs = f"{past.runs} earlier run{'s' if past.runs != 1 else ''}"
    gave = f"{out:,} row{'s' if out != 1 else ''}"
    line = f"{'the same statement' if past.same else runs} gave {gave}" + (f" of {past.work:,}" if past.work else "")
    return Estimate(scanned, made, out, guess.bytes_scanned, confidence, (*guess.inputs, line))
