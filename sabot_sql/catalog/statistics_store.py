"""The file that keeps learnt statistics from one start to the next.

It holds one row a table, valid as long as the table's files have the size and the modification time they had. It is a cache:
a file that cannot be used is begun anew.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
import sqlite3
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

from sabot_sql.catalog.stamps import stamp
from sabot_sql.catalog.statistics import Finding
from sabot_sql.catalog.table import ColumnStatistics, Learnt, Table

log = logging.getLogger(__name__)

FORMAT = 2
MOST_TABLES = 10_000


class StatisticsStore:
    """Findings by table, in the SQLite file `path`. Thread-safe; several may be open on one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = self._open()
        except sqlite3.OperationalError:  # locked, say, or not to be written: others may use it well
            raise
        except sqlite3.DatabaseError as error:
            log.warning("%s cannot be used and is begun anew: %s", path, error)
            for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
                name.unlink(missing_ok=True)
            self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if connection.execute("PRAGMA user_version").fetchone()[0] != FORMAT:
                connection.execute("DROP TABLE IF EXISTS learnt")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS learnt (place TEXT PRIMARY KEY, identity TEXT, at TEXT, finding TEXT) WITHOUT ROWID"
            )
            self._places = {place for (place,) in connection.execute("SELECT place FROM learnt")}
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def load(self, table: Table) -> Finding | None:
        """What was learnt of `table`, if its files are still the same."""
        place = place_of(table)
        with self._lock:
            if place not in self._places:
                return None
            try:
                row = self._connection.execute("SELECT identity, finding FROM learnt WHERE place = ?", (place,)).fetchone()
                if row is None or row[0] != identity_of(table):
                    return None
                return decoded(json.loads(row[1]))
            except (sqlite3.Error, ValueError, LookupError, TypeError) as error:
                log.warning("%s: what was learnt of %s cannot be read: %s", self.path, table.name, error)
                return None

    def save(self, table: Table, found: Finding) -> None:
        """Keep what was learnt of `table`, in place of what was kept of it before."""
        place, at = place_of(table), found.learnt.at.isoformat()
        text = json.dumps(encoded(found))
        with self._lock:
            try:
                self._connection.execute(
                    "INSERT OR REPLACE INTO learnt VALUES (?, ?, ?, ?)", (place, identity_of(table), at, text)
                )
                self._places.add(place)
                if len(self._places) > MOST_TABLES:
                    oldest = "SELECT place FROM learnt ORDER BY at LIMIT 100"
                    self._connection.execute(f"DELETE FROM learnt WHERE place IN ({oldest})")
                    self._places = {place for (place,) in self._connection.execute("SELECT place FROM learnt")}
            except sqlite3.Error as error:  # a full disk, say: what was learnt stays with this process
                log.warning("%s: what was learnt of %s cannot be kept: %s", self.path, table.name, error)

    def forget(self, table: Table) -> None:
        """Remove what is kept of `table`."""
        place = place_of(table)
        with self._lock:
            if place in self._places:
                self._places.discard(place)
                try:
                    self._connection.execute("DELETE FROM learnt WHERE place = ?", (place,))
                except sqlite3.Error as error:
                    log.warning("%s: %s cannot be removed: %s", self.path, table.name, error)

    def close(self) -> None:
        with self._lock:
            self._connection.close()
            self._places = set()


def place_of(table: Table) -> str:
    """Where the table lies: its format, its path, and its name inside a database."""
    scan = table.scan
    inside = (scan.options["schema"], scan.options["table"]) if scan.kind == "duckdb" else ()
    return json.dumps([scan.kind, table.location, *inside])


def identity_of(table: Table) -> str:
    """What must be unchanged for statistics to hold: columns, reader options, and each file's path, size and mtime."""
    scan = table.scan
    files = [(file.path, file.size_bytes, file.mtime_ns) for file in scan.files]
    if scan.kind == "duckdb" and (log_stamp := stamp(scan.files[0].path + ".wal")) is not None:
        files.append((".wal", log_stamp[1], log_stamp[2]))
    columns = [(field.name, str(field.type)) for field in scan.schema]
    text = json.dumps([scan.kind, columns, scan.options, scan.hive, files])
    return hashlib.sha256(text.encode()).hexdigest()


def encoded(found: Finding) -> dict[str, Any]:
    """`found` as JSON."""
    return {
        "rows": found.rows,
        "counted": found.counted,
        "at": found.learnt.at.isoformat(),
        "rows_sampled": found.learnt.rows_sampled,
        "took_s": found.learnt.took_s,
        "columns": {name: encoded_column(column) for name, column in found.columns.items()},
    }


def encoded_column(column: ColumnStatistics) -> dict[str, Any]:
    """One column as JSON, without what is not known."""
    values: dict[str, Any] = {
        "min": to_json(column.min),
        "max": to_json(column.max),
        "null_count": column.null_count,
        "distinct_count": column.distinct_count,
        "exact": column.exact or None,
        "histogram": None if column.histogram is None else [to_json(bound) for bound in column.histogram],
        "most_common": [[to_json(value), share] for value, share in column.most_common] or None,
        "average_bytes": column.average_bytes,
        "distinct_from": column.distinct_from or None,
        "attained": column.attained or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def decoded(data: dict[str, Any]) -> Finding:
    """The finding that `encoded` wrote."""
    learnt = Learnt(dt.datetime.fromisoformat(data["at"]), data["rows_sampled"], data["took_s"])
    columns = {name: decoded_column(column) for name, column in data["columns"].items()}
    return Finding(data["rows"], data["counted"], columns, learnt)


def decoded_column(data: dict[str, Any]) -> ColumnStatistics:
    """The column that `encoded_column` wrote."""
    values = dict(data)
    for name in ("min", "max"):
        if name in values:
            values[name] = from_json(values[name])
    if "histogram" in values:
        values["histogram"] = tuple(map(from_json, values["histogram"]))
    values["most_common"] = tuple((from_json(value), share) for value, share in values.get("most_common", ()))
    return ColumnStatistics(**values)


def to_json(value: Any) -> Any:
    """A value of a column as JSON; what JSON has no form for, in an array with the name of its type."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return ["decimal", str(value)]
        case dt.datetime():
            return ["timestamp", value.isoformat()]
        case dt.date():
            return ["date", value.isoformat()]
    raise TypeError(f"a {type(value).__name__} is no bound")


def from_json(value: Any) -> Any:
    """The value that `to_json` wrote."""
    match value:
        case ["decimal", text]:
            return Decimal(text)
        case ["timestamp", text]:
            return dt.datetime.fromisoformat(text)
        case ["date", text]:
            return dt.date.fromisoformat(text)
    return value
