"""`history.db`: what earlier runs of each shape of statement did, in a small SQLite file beside the job database.

It is written by the process that owns the state folder and may be listed and reset by any other meanwhile.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sabot_sql.errors import ConfigError

NAME = "history.db"
BUSY_S = 5.0
MOST_SHAPES = 10_000

COLUMNS = (
    "fingerprint", "tables_id", "shape", "tables", "runs", "route", "rows_estimated", "work", "rows_scanned", "rows_out",
    "local_ms", "distributed_ms", "last_run_at", "state",
)  # fmt: skip

CREATE = """
CREATE TABLE IF NOT EXISTS history (
    fingerprint TEXT NOT NULL, tables_id TEXT NOT NULL, shape TEXT NOT NULL, tables TEXT NOT NULL, runs INTEGER NOT NULL,
    route TEXT NOT NULL, rows_estimated INTEGER, work INTEGER, rows_scanned INTEGER, rows_out INTEGER, local_ms REAL,
    distributed_ms REAL, last_run_at TEXT NOT NULL, state TEXT NOT NULL, PRIMARY KEY (fingerprint, tables_id));
CREATE TABLE IF NOT EXISTS speed (
    machine TEXT PRIMARY KEY, rows_per_ms REAL NOT NULL, overhead_ms REAL NOT NULL, agent_share REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS resets (number INTEGER NOT NULL);
"""
KEEP = "SELECT rowid FROM history ORDER BY last_run_at DESC LIMIT ?"


class HistoryFile:
    """The file, opened. Not thread-safe: one thread at a time.

    Raises:
        ConfigError: it cannot be read or written, or is none of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._translated():
            self._con = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._con.execute("PRAGMA journal_mode = WAL")
            self._con.execute("PRAGMA synchronous = NORMAL")
            self._con.executescript(CREATE)
            self._resets = self._reset_count()

    def rows(self, limit: int = MOST_SHAPES) -> list[dict[str, Any]]:
        """The shapes as mappings with `COLUMNS`, the latest first."""
        with self._translated():
            query = f"SELECT {', '.join(COLUMNS)} FROM history ORDER BY last_run_at DESC, rowid DESC LIMIT ?"
            return [dict(zip(COLUMNS, row)) for row in self._con.execute(query, (limit,))]

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add or replace shapes."""
        marks = ", ".join("?" * len(COLUMNS))
        with self._translated(), self._transaction():
            self._con.executemany(
                f"INSERT OR REPLACE INTO history ({', '.join(COLUMNS)}) VALUES ({marks})",
                [tuple(row[c] for c in COLUMNS) for row in rows],
            )
            if self._con.execute("SELECT count(*) FROM history").fetchall()[0][0] > MOST_SHAPES * 1.1:
                self._con.execute(f"DELETE FROM history WHERE rowid NOT IN ({KEEP})", (MOST_SHAPES,))

    def speed(self, machine: str) -> tuple[float, float, float] | None:
        """Rows a millisecond and overhead in milliseconds that were measured on `machine`."""
        with self._translated():
            found = self._con.execute(
                "SELECT rows_per_ms, overhead_ms, agent_share FROM speed WHERE machine = ?", (machine,)
            ).fetchall()
            return found[0] if found else None

    def write_speed(self, machine: str, rows_per_ms: float, overhead_ms: float, agent_share: float) -> None:
        """Keep what was measured on `machine`."""
        with self._translated():
            self._con.execute(
                "INSERT OR REPLACE INTO speed VALUES (?, ?, ?, ?)", (machine, rows_per_ms, overhead_ms, agent_share)
            )

    def reset(self) -> int:
        """Forget all shapes and speeds; returns how many shapes there were. Whoever has the file open notices."""
        with self._translated(), self._transaction():
            shapes = self._con.execute("DELETE FROM history").rowcount
            self._con.execute("DELETE FROM speed")
            number = self._reset_count() + 1
            self._con.execute("DELETE FROM resets")
            self._con.execute("INSERT INTO resets VALUES (?)", (number,))
        return shapes

    def was_reset(self) -> bool:
        """Whether somebody has reset the file since this was last asked."""
        with self._translated():
            number = self._reset_count()
        known, self._resets = self._resets, number
        return number != known

    def _reset_count(self) -> int:
        found = self._con.execute("SELECT max(number) FROM resets").fetchall()[0][0]
        return int(found or 0)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._con.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._con.execute("ROLLBACK")
            raise
        self._con.execute("COMMIT")

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise ConfigError(
                f"the history {self.path} cannot be used: {exc}", hint="remove the file; queries are then learnt anew"
            ) from exc

    def close(self) -> None:
        """Close the file."""
        self._con.close()
