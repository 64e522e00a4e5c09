"""What is remembered of one shape of statement over one set of tables."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sabot_sql.engine.averages import Mean, best
from sabot_sql.planner.past import Past

KEPT_RUNS = 32
"""A time that was not measured again for so many runs is forgotten, so that a route that lost once is tried again."""

SIZE_CHANGE = 1.25
"""Tables that grew or shrank by more than this factor are others: what was learnt over them is forgotten."""


@dataclass(frozen=True, slots=True)
class Files:
    """What identifies the tables of a statement.

    Attributes:
        tables_id: of their names, places and columns: what history is kept under.
        stamp: of their files as they are now.
        rows: their rows, or their bytes where no rows are known.
    """

    tables_id: str
    stamp: str
    rows: int


@dataclass(frozen=True, slots=True)
class Run:
    """What one run did; None where nobody counted."""

    route: Literal["local", "distributed"]
    rows_out: int
    elapsed_ms: float | None
    rows_estimated: int
    rows_scanned: int | None = None
    work: int | None = None


@dataclass(slots=True)
class ShapeHistory:
    """The runs of one shape. `text` is a digest of the last statement and its parameters; `same_*` are figures of that very
    statement, the means are of all."""

    fingerprint: str
    files: Files
    shape: str
    tables: str
    runs: int = 0
    route: str = ""
    rows_estimated: int = 0
    last_run_s: float = 0.0
    text: str = ""
    rows_out: Mean = field(default_factory=Mean)
    rows_scanned: Mean = field(default_factory=Mean)
    work: Mean = field(default_factory=Mean)
    local_ms: Mean = field(default_factory=Mean)
    distributed_ms: Mean = field(default_factory=Mean)
    local_at: int = 0
    distributed_at: int = 0
    same_rows_out: int | None = None
    same_rows_scanned: int | None = None
    same_work: int | None = None
    same_local_ms: float | None = None
    same_distributed_ms: float | None = None
    _same: Past | None = None
    _shape: Past | None = None

    def add(self, text: str, files: Files, run: Run, now_s: float) -> None:
        """One more run, that ended at `now_s` (Unix time)."""
        if files is not self.files and resized(files, self.files):
            for name in ("rows_out", "rows_scanned", "work", "local_ms", "distributed_ms"):
                setattr(self, name, Mean())
        if text != self.text or files.stamp != self.files.stamp:
            self.same_rows_scanned = self.same_work = None
            self.same_local_ms = self.same_distributed_ms = None
        self.text, self.files, self.last_run_s = text, files, now_s
        self.runs += 1
        self.route, self.rows_estimated = run.route, run.rows_estimated
        self.rows_out.add(run.rows_out)
        self.same_rows_out = run.rows_out
        if run.rows_scanned is not None and run.work is not None:
            self.rows_scanned.add(run.rows_scanned)
            self.work.add(run.work)
            self.same_rows_scanned, self.same_work = run.rows_scanned, run.work
        if run.elapsed_ms is not None and run.route == "local":
            self.local_ms.add(run.elapsed_ms)
            self.same_local_ms, self.local_at = best(self.same_local_ms, run.elapsed_ms), self.runs
        elif run.elapsed_ms is not None:
            self.distributed_ms.add(run.elapsed_ms)
            self.same_distributed_ms, self.distributed_at = best(self.same_distributed_ms, run.elapsed_ms), self.runs
        self._same = self._shape = None

    def _of_same(self) -> Past:
        """What the next run of the same statement is expected to do."""
        local = self.runs - self.local_at < KEPT_RUNS
        distributed = self.runs - self.distributed_at < KEPT_RUNS
        return Past(
            self.runs,
            True,
            self.same_rows_out,
            self.same_rows_scanned,
            self.same_work,
            self.same_local_ms if local else None,
            self.same_distributed_ms if distributed else None,
            self.local_ms.count,
            self.distributed_ms.count,
        )

    def _of_shape(self) -> Past:
        """What the next run with other literals is expected to do."""
        local = self.runs - self.local_at < KEPT_RUNS
        distributed = self.runs - self.distributed_at < KEPT_RUNS
        return Past(
            self.runs,
            False,
            _whole(self.rows_out),
            _whole(self.rows_scanned),
            _whole(self.work),
            self.local_ms.trusted() if local else None,
            self.distributed_ms.trusted() if distributed else None,
            self.local_ms.count,
            self.distributed_ms.count,
        )

    def past(self, text: str, files: Files) -> Past | None:
        """What the statement behind `text` is expected to do over `files`."""
        if text == self.text and files.stamp == self.files.stamp:
            if (found := self._same) is None:
                found = self._same = self._of_same()
            return found
        if files is not self.files and resized(files, self.files):
            return None
        if (found := self._shape) is None:
            found = self._shape = self._of_shape()
        return found

    def wants_count(self) -> bool:
        """Whether the next run should have its rows counted: the first, and ever fewer of those after it."""
        return self.work.count == 0 or (self.runs & (self.runs - 1)) == 0

    def row(self) -> dict[str, Any]:
        """The row of `history.db`."""
        means = {n: [getattr(self, n).count, getattr(self, n).log, getattr(self, n).variance] for n in MEANS}
        return {
            "fingerprint": self.fingerprint,
            "tables_id": self.files.tables_id,
            "shape": self.shape,
            "tables": self.tables,
            "runs": self.runs,
            "route": self.route,
            "rows_estimated": self.rows_estimated,
            "work": _shown(self.work),
            "rows_scanned": _shown(self.rows_scanned),
            "rows_out": _shown(self.rows_out),
            "local_ms": round(self.local_ms.value, 3) if self.local_ms.count else None,
            "distributed_ms": round(self.distributed_ms.value, 3) if self.distributed_ms.count else None,
            "last_run_at": dt.datetime.fromtimestamp(self.last_run_s, dt.UTC).isoformat(timespec="milliseconds"),
            "state": json.dumps(
                {"files": [self.files.stamp, self.files.rows], **{n: getattr(self, n) for n in PLAIN}, **means}
            ),
        }

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> ShapeHistory:
        """The history that `row` wrote."""
        state = json.loads(row["state"])
        stamp, rows = state["files"]
        found = cls(row["fingerprint"], Files(row["tables_id"], stamp, rows), row["shape"], row["tables"])
        found.runs, found.route = row["runs"], row["route"]
        found.last_run_s = dt.datetime.fromisoformat(row["last_run_at"]).timestamp()
        found.rows_estimated = row["rows_estimated"] or 0
        for name in PLAIN:
            setattr(found, name, state[name])
        for name in MEANS:
            setattr(found, name, Mean(*state[name]))
        return found


MEANS: Sequence[str] = ("rows_out", "rows_scanned", "work", "local_ms", "distributed_ms")
PLAIN: Sequence[str] = (
    "text", "local_at", "distributed_at", "same_rows_out", "same_rows_scanned", "same_work", "same_local_ms",
    "same_distributed_ms",
)  # fmt: skip


def resized(one: Files, other: Files) -> bool:
    """Whether the tables grew or shrank too much to be taken for the same."""
    return max(one.rows, other.rows) > SIZE_CHANGE * max(1, min(one.rows, other.rows))


def _whole(mean: Mean) -> int | None:
    found = mean.trusted()
    return None if found is None else round(found)


def _shown(mean: Mean) -> int | None:
    return round(mean.value) if mean.count else None
