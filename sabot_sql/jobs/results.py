"""Answers that are kept for a while: in memory up to a budget, beyond it and for durable jobs as Arrow files."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from sabot_sql.engine.request import QueryResult
from sabot_sql.errors import ExecutionError
from sabot_sql.types import Field, parse_type

MEMORY_BYTES = 256 << 20
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
    path: Path | None
    size_bytes: int
    expires_s: float


class ResultStore:
    """The results of one manager.

    Args:
        folder: where files go.
        ttl_s: how long a result can be fetched.
        on_full: called when memory is over its budget and `spill` should be called.
        memory_bytes: tables held in memory; the oldest beyond it move to files when `spill` is called.
    """

    def __init__(
        self, folder: Path, ttl_s: float, on_full: Callable[[], None] = lambda: None, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self._folder = folder
        self._ttl_s = ttl_s
        self._on_full = on_full
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._held_bytes = 0

    def keep(self, result: QueryResult, fetched_later: bool, save: bool = False) -> Path | None:
        """Keep `result`; returns its file, if it has one.

        Args:
            fetched_later: whether it was asked to be fetched by its id. Otherwise a large table is only referred to: whoever
                ran the query has it.
            save: write the file now, so that it outlives the process.
        """
        size = result.table.get_total_buffer_size()
        path = self._write(result.query_id, result.table) if save else None
        held = fetched_later or size <= SMALL_BYTES
        kept = _Kept(
            result=result if held else dataclasses.replace(result, table=EMPTY),
            held=held,
            spills=fetched_later,
            reference=None if held else weakref.ref(result.table),
            path=path,
            size_bytes=size,
            expires_s=time.time() + self._ttl_s,
        )
        with self._lock:
            before = self._kept.get(result.query_id)
            self._kept[result.query_id] = kept
            self._held_bytes += (size if held else 0) - (before.size_bytes if before is not None and before.held else 0)
        if self._held_bytes > self._memory_bytes:
            self._on_full()
        return path

    def forget(self, query_id: str) -> None:
        """Let go of a result that nobody asked to fetch."""
        with self._lock:
            kept = self._kept.get(query_id)
            if kept is not None and not kept.spills:
                del self._kept[query_id]
                self._held_bytes -= kept.size_bytes if kept.held else 0

    def restore(self, query_id: str, manifest: dict[str, Any], finished_s: float) -> bool:
        """Take over a result that an earlier process kept; False when it is kept no more."""
        expires_s = finished_s + self._ttl_s
        path = self._folder / str(manifest["file"])
        if manifest["file"] is None or expires_s < time.time() or not path.exists():
            return False
        kept = _Kept(result_of(query_id, manifest), False, True, None, path, int(manifest["bytes"]), expires_s)
        with self._lock:
            self._kept[query_id] = kept
        return True

    def get(self, query_id: str) -> QueryResult | None:
        """The result; None when it is not kept any more."""
        with self._lock:
            kept = self._kept.get(query_id)
            if kept is None or kept.expires_s < time.time():
                return None
            result, path, held = kept.result, kept.path, kept.held
        table = result.table if held else None
        if kept.reference is not None:
            table = kept.reference()
        if table is None and path is not None:
            with contextlib.suppress(FileNotFoundError):
                table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        return None if table is None else dataclasses.replace(result, table=table)

    def spill(self) -> None:
        """Move the oldest tables to files until the budget holds; those that nobody asked to fetch just go."""
        while self._held_bytes > self._memory_bytes:
            with self._lock:
                found = next(((q, k) for q, k in self._kept.items() if k.held), None)
            if found is None:
                return
            query_id, kept = found
            path = kept.path or (self._write(query_id, kept.result.table) if kept.spills else None)
            with self._lock:
                if self._kept.get(query_id) is kept and kept.held:
                    kept.path = path
                    kept.held, kept.result = False, dataclasses.replace(kept.result, table=EMPTY)
                    self._held_bytes -= kept.size_bytes

    def sweep(self) -> list[str]:
        """Remove what is past its time, files of earlier processes too; returns the ids."""
        now = time.time()
        with self._lock:
            expired = [q for q, k in self._kept.items() if k.expires_s < now]
            for query_id in expired:
                kept = self._kept.pop(query_id)
                if kept.held:
                    self._held_bytes -= kept.size_bytes
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime + self._ttl_s < now:
                    path.unlink()
        return expired

    def close(self) -> None:
        """Let go of all tables in memory."""
        with self._lock:
            self._kept.clear()
            self._held_bytes = 0

    def _write(self, query_id: str, table: pa.Table) -> Path:
        path = self._folder / f"{query_id}.arrow"
        part = path.with_suffix(".part")
        try:
            with pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            part.rename(path)
        except OSError as exc:
            part.unlink(missing_ok=True)
            raise ExecutionError(f"the result cannot be written to {self._folder}: {exc}", hint="make room there") from exc
        return path


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
