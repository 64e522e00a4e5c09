"""Small real stages for the tests of the agents."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sabot_sql.agents.pool import AgentPool
from sabot_sql.catalog.table import DataFile, ScanSpec, Split
from sabot_sql.executor.task import TaskResult
from sabot_sql.planner.expressions import Const, Ref
from sabot_sql.planner.physical import (
    AggregateCall,
    Exchange,
    ExchangeRead,
    HashAggregate,
    HashJoin,
    Project,
    Scan,
    Session,
    Stage,
    Task,
    Values,
)
from sabot_sql.types import BIGINT, Field

SESSION = Session()
ONE = (Field("x", BIGINT),)


def constant_stage(num_tasks: int = 2, value: int = 42) -> Stage:
    """Each task gives one row with `value`."""
    root = Project(Values(1, ()), (Const(value, BIGINT),), ONE)
    return Stage(0, root, Exchange("gather"), (), tuple(Task(i) for i in range(num_tasks)))


def gather_stage(num_tasks: int = 1) -> Stage:
    """Each task gives all rows of stage 0."""
    tasks = tuple(Task(i, partitions={0: (0,)}) for i in range(num_tasks))
    return Stage(1, ExchangeRead(0, ONE), Exchange("gather"), (0,), tasks)


def scan_stage(path: Path, num_tasks: int = 2) -> Stage:
    """Each task reads the Parquet file `path` with its one BIGINT column."""
    return Stage(0, _scan(path, 0), Exchange("gather"), (), tuple(Task(i, {0: (Split(0),)}) for i in range(num_tasks)))


def endless_stage(folder: Path, num_tasks: int = 2) -> Stage:
    """Each task joins 100,000 rows of one key with themselves and counts: hours of work, in small steps."""
    return work_stage(folder, num_tasks, 100_000)


def work_stage(folder: Path, num_tasks: int = 2, rows: int = 10_000) -> Stage:
    """Each task joins so many rows of one key with themselves and counts."""
    path = folder / "same.parquet"
    pq.write_table(pa.table({"x": pa.array([7] * rows, pa.int64())}), path)
    join = HashJoin(_scan(path, 0), _scan(path, 1), "inner", (0,), (0,), (False,), None, (0, 1), ONE + ONE)
    root = HashAggregate(join, "single", (), (AggregateCall("count_star", None, None, BIGINT),), ONE)
    tasks = tuple(Task(i, {0: (Split(0),), 1: (Split(0),)}) for i in range(num_tasks))
    return Stage(0, root, Exchange("gather"), (), tasks)


def _scan(path: Path, scan_id: int) -> Scan:
    status = path.stat() if path.exists() else None
    file = DataFile(str(path), status.st_size if status else 1, status.st_mtime_ns if status else 1, rows=100_000)
    return Scan(scan_id, "same", ScanSpec("parquet", ONE, (file,)), ("x",), (), (Ref(0, BIGINT),), ONE)


def values_of(pool: AgentPool, results: list[TaskResult]) -> list[int]:
    """The rows of all tasks, in order."""
    return [row for r in results for batch in pool.read(r.block, 0) for row in batch.column(0).to_pylist()]
