"""Runs stages in this process over real files: Parquet in, Arrow IPC blocks between, rows out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sabot_sql.catalog.table import DataFile, ScanSpec, Split
from sabot_sql.executor.exchange import BlockFile, PartitionBlock
from sabot_sql.executor.operator import MemoryTracker, TaskContext
from sabot_sql.executor.task import TaskResult, run_task
from sabot_sql.planner.expressions import Expr, Ref
from sabot_sql.planner.physical import Scan, Session, Stage
from sabot_sql.types import Field, Schema, parse_type
from tests.executor.tables import rows_of


class FileWriter:
    """One Arrow IPC file a task; every batch belongs to one partition."""

    def __init__(self, folder: Path, stage: int, task: int) -> None:
        self.name = (stage, task)
        self.path = folder / f"{stage}-{task}.arrow"
        self.batches: dict[int, list[tuple[int, pa.RecordBatch]]] = {}
        self.count = 0
        self.aborted = False

    def write(self, partition: int, batch: pa.RecordBatch) -> None:
        self.batches.setdefault(partition, []).append((self.count, batch))
        self.count += 1

    def finish(self) -> BlockFile:
        everything = sorted((p for pieces in self.batches.values() for p in pieces), key=lambda pair: pair[0])
        if everything:
            with pa.OSFile(str(self.path), "wb") as sink, pa.ipc.new_file(sink, everything[0][1].schema) as writer:
                for _, batch in everything:
                    writer.write_batch(batch)
        partitions = tuple(
            PartitionBlock(p, sum(b.num_rows for _, b in found), sum(b.nbytes for _, b in found), tuple(i for i, _ in found))
            for p, found in sorted(self.batches.items())
        )
        return BlockFile("job", *self.name, 0, "agent", "host", "", str(self.path), partitions)

    def abort(self) -> None:
        self.aborted = True
        self.batches.clear()


class FileReader:
    def read(self, block: BlockFile, partition: int) -> Iterator[pa.RecordBatch]:
        (announced,) = [p for p in block.partitions if p.partition == partition]
        file = pa.ipc.open_file(pa.memory_map(block.path))
        for i in announced.batches:
            yield file.get_batch(i)


@dataclass(slots=True)
class Runner:
    """Runs stages one after the other; `blocks` are what they wrote, `results` what their tasks reported."""

    folder: Path
    threads: int = 1
    morsel_bytes: int = 2 << 20
    session: Session = field(default_factory=Session)
    blocks: dict[int, list[BlockFile]] = field(default_factory=dict)
    results: dict[int, list[TaskResult]] = field(default_factory=dict)
    contexts: list[TaskContext] = field(default_factory=list)

    def run(self, *stages: Stage) -> list[tuple[Any, ...]]:
        """All rows of the last stage."""
        for stage in stages:
            inputs = {i: self.blocks[i] for i in stage.inputs}
            self.results[stage.stage_id] = []
            for task in stage.tasks:
                context = self.context(stage.stage_id, task.index)
                writer = FileWriter(self.folder, stage.stage_id, task.index)
                self.results[stage.stage_id].append(run_task(stage, task, inputs, FileReader(), writer, context))
                assert context.memory.used_bytes == 0
            self.blocks[stage.stage_id] = [r.block for r in self.results[stage.stage_id]]
        last = self.blocks[stages[-1].stage_id]
        return rows_of([batch for block in last for p in block.partitions for batch in FileReader().read(block, p.partition)])

    def context(self, stage: int = 0, task: int = 0) -> TaskContext:
        memory = MemoryTracker(1 << 30)
        context = TaskContext("job", stage, task, 0, self.session, memory, self.threads, self.morsel_bytes)
        self.contexts.append(context)
        return context


def data_file(path: Path) -> DataFile:
    """A file as the catalog would describe it."""
    status = path.stat()
    groups: tuple[int, ...] = ()
    if path.suffix == ".parquet":
        footer = pq.read_metadata(path)
        groups = tuple(footer.row_group(i).num_rows for i in range(footer.num_row_groups))
    if path.suffix == ".arrow":
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
            groups = tuple(file.get_batch(i).num_rows for i in range(file.num_record_batches))
    return DataFile(str(path), status.st_size, status.st_mtime_ns, sum(groups) if groups else None, groups)


def parquet_table(folder: Path, name: str, sql: str, files: int = 1, row_group: int = 2048) -> ScanSpec:
    """The rows of `sql` as Parquet files of about equal size."""
    with duckdb.connect() as connection:
        relation = connection.sql(sql)
        schema = tuple(Field(n, parse_type(str(t))) for n, t in zip(relation.columns, relation.types))
        table = connection.sql(sql).to_arrow_table()
    step = -(-len(table) // files) or 1
    paths = []
    for i in range(files):
        paths.append(folder / f"{name}-{i}.parquet")
        pq.write_table(table.slice(i * step, step), paths[-1], row_group_size=row_group)
    return ScanSpec("parquet", schema, tuple(map(data_file, paths)))


def scan(spec: ScanSpec, columns: Sequence[str], filters: Sequence[Expr] = (), scan_id: int = 0) -> Scan:
    """A scan that gives `columns` out as they are."""
    types = {f.name: f.type for f in spec.schema}
    schema: Schema = tuple(Field(c, types[c]) for c in columns)
    refs = tuple(Ref(i, f.type) for i, f in enumerate(schema))
    return Scan(scan_id, "t", spec, tuple(columns), tuple(filters), refs, schema)


def group_splits(spec: ScanSpec) -> list[Split]:
    """A split a row group."""
    found = []
    for i, file in enumerate(spec.files):
        at = 0
        for rows in file.row_groups:
            found.append(Split(i, at, rows))
            at += rows
    return found


def ask(sql: str, **tables: ScanSpec) -> list[tuple[Any, ...]]:
    """What DuckDB says over the files of `tables`."""
    with duckdb.connect() as connection:
        for name, spec in tables.items():
            paths = ", ".join(f"'{os.fspath(f.path)}'" for f in spec.files)
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{paths}])")
        return connection.sql(sql).fetchall()
