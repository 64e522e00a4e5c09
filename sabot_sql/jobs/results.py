"""Answers that are kept for a while: in memory up to a budget, beyond it and for durable jobs as Arrow files."""

from __future__ import annotations

import dataclasses
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sabot_sql.config import Settings
from sabot_sql.engine.request import QueryResult
from sabot_sql.errors import ExecutionError, QueryError
from sabot_sql.executor.answer_size import refuse_larger
from sabot_sql.jobs.result_files import ResultFiles
from sabot_sql.types import Field, parse_type

SMALL_BYTES = 1 << 20
EMPTY = pa.table({})


@dataclass(slots=True)
class _Kept:
    """A result and where its table is: held with it in memory, in a file, or only with whoever asked for it. `spills`: to a
    file when memory is short, otherwise it just goes."""

    result: QueryResult
    held: bool
    spills: bool
    reference: weakref.ref[pa.Table] | None
    size_bytes: int
    expires_s: float


class ResultStore:
    """The results of one manager.

    Args:
        files: where tables go that memory has no room for; shared by all managers of a folder.
        settings: `result_ttl_s`, `result_max_bytes`, `result_memory_bytes` and `result_disk_bytes` count.
        on_full: called when memory is over its budget and `spill` should be called.
        on_gone: told the ids of queries whose files went to make room for others, of whatever manager they are.
    """

    def __init__(
        self,
        files: ResultFiles,
        settings: Settings,
        on_full: Callable[[], None] = lambda: None,
        on_gone: Callable[[Iterable[str]], None] = lambda query_ids: None,
    ) -> None:
        self._files = files
        self._ttl_s = settings.result_ttl_s
        self._max_bytes = settings.result_max_bytes
        self._memory_bytes = settings.result_memory_bytes
        self._disk_bytes = settings.result_disk_bytes
        self._on_full = on_full
        self._on_gone = on_gone
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """What is held in memory."""
        return self._held_bytes

    def keep(self, result: QueryResult, fetched_later: bool, save: bool = False) -> Path | None:
        """Keep `result`; returns its file, if it has one.

        Args:
            fetched_later: whether it was asked to be fetched by its id. Otherwise a large table is only referred to: whoever
                ran the query has it.
            save: write the file now, so that it outlives the process.

        Raises:
            QueryError: RESULT_TOO_LARGE.
            ExecutionError: it is to be kept in a file, and the disk is full.
        """
        table = result.table
        size = table.get_total_buffer_size()
        if size > self._max_bytes:  # buffers may be shared with more than the answer
            refuse_larger(table.nbytes, self._max_bytes)
        large = size > (self._memory_bytes if fetched_later else SMALL_BYTES)
        path = self._write(result.query_id, table) if save or (large and fetched_later) else None
        kept = _Kept(
            result=dataclasses.replace(result, table=EMPTY) if large else result,
            held=not large,
            spills=fetched_later,
            reference=weakref.ref(table) if large else None,
            size_bytes=size,
            expires_s=time.time() + self._ttl_s,
        )
        with self._lock:
            self._pop(result.query_id)
            self._kept[result.query_id] = kept
            self._held_bytes += 0 if large else size
        if self._held_bytes > self._memory_bytes:
            self._on_full()
        return path

    def forget(self, query_id: str) -> None:
        """Let go of a result that nobody asked to fetch."""
        with self._lock:
            kept = self._kept.get(query_id)
            if kept is not None and not kept.spills:
                self._pop(query_id)

    def delete(self, query_id: str) -> None:
        """Let go of a result, its file too."""
        with self._lock:
            self._pop(query_id)
        self._files.remove(query_id)

    def restore(self, query_id: str, manifest: dict[str, Any], finished_s: float) -> bool:
        """Take over a result that an earlier process kept; False when it is kept no more."""
        expires_s = finished_s + self._ttl_s
        if manifest["file"] is None or expires_s < time.time() or not self._files.has(query_id):
            return False
        with self._lock:
            self._kept[query_id] = _Kept(result_of(query_id, manifest), False, True, None, int(manifest["bytes"]), expires_s)
        return True

    def get(self, query_id: str) -> QueryResult | None:
        """The result; None when it is not kept any more."""
        with self._lock:
            kept = self._kept.get(query_id)
            if kept is None or kept.expires_s < time.time():
                return None
            result, held = kept.result, kept.held
        table = result.table if held else None
        if kept.reference is not None:
            table = kept.reference()
        if table is None:
            table = self._files.read(query_id)
        return None if table is None else dataclasses.replace(result, table=table)

    def lacks(self, query_id: str) -> bool:
        """Whether the table is neither held in memory nor in a file."""
        kept = self._kept.get(query_id)
        return kept is None or not (kept.held or self._files.has(query_id))

    def spill(self) -> None:
        """Move the oldest tables to files until the budget holds; those that nobody asked to fetch, or that the disk has no
        room for, just go."""
        while self._held_bytes > self._memory_bytes:
            with self._lock:
                found = next(((q, k) for q, k in self._kept.items() if k.held), None)
            if found is None:
                return
            query_id, kept = found
            stays = kept.spills and (self._files.has(query_id) or self._written(query_id, kept.result.table))
            with self._lock:
                if self._kept.get(query_id) is not kept or not kept.held:
                    continue
                kept.held, kept.result = False, dataclasses.replace(kept.result, table=EMPTY)
                self._held_bytes -= kept.size_bytes
            if kept.spills and not stays:
                self._on_gone([query_id])

    def sweep(self) -> list[str]:
        """Remove what is past its time, files of earlier processes too; returns the ids."""
        now = time.time()
        with self._lock:
            expired = [q for q, k in self._kept.items() if k.expires_s < now]
            for query_id in expired:
                self._pop(query_id)
        self._files.sweep(now - self._ttl_s)
        return expired

    def close(self) -> None:
        """Let go of all tables in memory."""
        with self._lock:
            self._kept.clear()
            self._held_bytes = 0

    def _pop(self, query_id: str) -> None:
        kept = self._kept.pop(query_id, None)
        if kept is not None and kept.held:
            self._held_bytes -= kept.size_bytes

    def _write(self, query_id: str, table: pa.Table) -> Path:
        path, gone = self._files.write(query_id, table, self._disk_bytes)
        if gone:
            self._on_gone(gone)
        return path

    def _written(self, query_id: str, table: pa.Table) -> bool:
        try:
            self._write(query_id, table)
        except (QueryError, ExecutionError):
            return False
        return True


def manifest_of(result: QueryResult, path: Path | None) -> dict[str, Any]:
    """All of a result but its rows, JSON-able; `path` is where those lie."""
    return {
        "rows": result.table.num_rows,
        "bytes": result.table.get_total_buffer_size(),
        "file": path.name if path else None,
        "columns": [[field.name, str(field.type)] for field in result.columns],
        "route": result.route,
        "reason": result.reason,
        "statement_type": result.statement_type,
        "stats": result.stats,
        "warnings": result.warnings,
    }


def result_of(query_id: str, manifest: dict[str, Any]) -> QueryResult:
    """The result that `manifest_of` described, without its rows."""
    return QueryResult(
        query_id=query_id,
        table=EMPTY,
        columns=tuple(Field(name, parse_type(text)) for name, text in manifest["columns"]),
        route=manifest["route"],
        reason=manifest["reason"],
        stats=manifest["stats"],
        statement_type=manifest["statement_type"],
        warnings=manifest["warnings"],
    )
