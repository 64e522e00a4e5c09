"""Whatever the size of morsels and the number of workers, plans give the same rows; workers share work, and stop together."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from sabot_sql.catalog.table import Split
from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.engine import Engine
from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import QueryError
from sabot_sql.executor.filter_project import FilterOperator, ProjectOperator
from sabot_sql.executor.operator import MemoryTracker, TaskContext
from sabot_sql.executor.pipeline import Branch, run_pipeline
from sabot_sql.executor.scan import ScanSource, merged
from sabot_sql.executor.task import run_task
from sabot_sql.planner.expressions import Call, Cast, Compare, Const, Ref
from sabot_sql.planner.physical import (
    AggregateCall,
    Exchange,
    Filter,
    HashAggregate,
    HashJoin,
    Project,
    Session,
    Stage,
    Task,
    Values,
)
from sabot_sql.types import BIGINT, VARCHAR, Field, SqlType
from tests.executor.stage_runner import FileReader, FileWriter, Runner, group_splits, parquet_table, scan
from tests.executor.tables import cancel_delay, stats
from tests.executor.test_pipeline import Collect

PLANS = {
    "filter, project": "SELECT l_orderkey k, l_linenumber n, l_extendedprice * (1 - l_discount) * (1 + l_tax) p FROM lineitem "
    "WHERE l_shipdate < DATE '1993-01-01' AND l_quantity > 40 OR l_comment LIKE '%final%'",
    "aggregate without keys": "SELECT sum(l_quantity), count(*), avg(l_tax), min(l_shipdate), max(l_comment) FROM lineitem",
    "few groups": "SELECT l_returnflag f, l_linestatus s, sum(l_extendedprice), avg(l_discount::DOUBLE), count(*) "
    "FROM lineitem GROUP BY ALL",
    "many groups": "SELECT l_orderkey, sum(l_extendedprice::DOUBLE / 3), count(DISTINCT l_suppkey) FROM lineitem GROUP BY 1",
    "text groups": "SELECT o_clerk, count(*), min(o_comment) FROM orders GROUP BY 1 HAVING count(*) > 2",
    "inner join": "SELECT c_name, sum(o_totalprice) FROM customer JOIN orders ON c_custkey = o_custkey GROUP BY 1",
    "left join": "SELECT c_custkey, count(o_orderkey) FROM customer LEFT JOIN orders ON c_custkey = o_custkey "
    "AND o_comment NOT LIKE '%special%' GROUP BY 1",
    "semi and anti join": "SELECT count(*), sum(o_totalprice) FROM orders WHERE EXISTS (SELECT 1 FROM lineitem "
    "WHERE l_orderkey = o_orderkey AND l_quantity > 45) AND o_custkey NOT IN "
    "(SELECT c_custkey FROM customer WHERE c_acctbal < 0)",
    "sort": "SELECT l_orderkey, l_linenumber, l_shipdate FROM lineitem WHERE l_tax = 0.05 ORDER BY l_shipdate, 1 DESC, 2",
    "top": "SELECT l_extendedprice, l_orderkey, l_linenumber FROM lineitem ORDER BY 1 DESC, 2, 3 LIMIT 50 OFFSET 7",
    "window": "SELECT * FROM (SELECT l_orderkey k, l_linenumber n, rank() OVER (PARTITION BY l_suppkey "
    "ORDER BY l_extendedprice, l_orderkey) r FROM lineitem) WHERE r <= 2",
    "states": "SELECT l_shipmode, stddev(l_extendedprice::DOUBLE), arg_max(l_orderkey, (l_extendedprice, l_orderkey)) "
    "FROM lineitem GROUP BY 1",
    "union": "SELECT d, count(*) FROM (SELECT o_orderdate d FROM orders UNION ALL SELECT l_shipdate FROM lineitem) GROUP BY 1",
    "q09": "",
    "q18": "",
}
ORDERED = ("sort", "top", "q09", "q18")
QUERIES = Path(__file__).parents[2] / "bench" / "accept" / "tpch" / "queries"


@pytest.fixture(scope="module")
def engine(tpch: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    settings = Settings(learn_statistics=False, agents=AgentSettings(count=2, threads=1))
    engine = Engine(settings, str(tpch), tmp_path_factory.mktemp("scratch"))
    yield engine
    engine.close()


@pytest.mark.parametrize("name", PLANS)
def test_rows_do_not_depend_on_morsels_and_workers(
    name: str, engine: Engine, tpch_oracle: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    sql = PLANS[name] or (QUERIES / f"{name}.sql").read_text()
    plan = engine.prepare(QueryRequest(sql, route="distributed")).plan
    assert plan is not None
    expected = comparable(name, tpch_oracle.sql(sql).fetchall())
    for threads in (1, 2, 4):
        for morsel_bytes in (4 << 10, 64 << 10, 2 << 20):
            folder = tmp_path / f"{threads}-{morsel_bytes}"
            folder.mkdir()
            rows = Runner(folder, threads, morsel_bytes).run(*plan.stages)
            assert_close(comparable(name, rows), expected)


def comparable(name: str, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows, in one order where the plan has none; doubles may differ, so they do not say the order."""
    if name in ORDERED:
        return list(rows)
    return sorted(rows, key=lambda row: tuple(str(v) for v in row if not isinstance(v, float)))


def assert_close(found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        assert ours == tuple(pytest.approx(v, rel=1e-9) if isinstance(v, float) else v for v in theirs)


LONG = Field("x", SqlType("DECIMAL", 18, 0))
LONGS = pa.schema([pa.field("c0", pa.decimal64(18, 0))])


@dataclass
class Longs:
    """Units of batches of one decimal; what is callable is called when its turn comes, and gives the batch."""

    units_of: Sequence[Any]
    schema: pa.Schema = LONGS

    def units(self, context: TaskContext) -> Sequence[Any]:
        return [_LongsUnit(batches) for batches in self.units_of]


@dataclass
class _LongsUnit:
    parts: Any

    def batches(self, context: TaskContext) -> Iterator[pa.RecordBatch]:
        for part in self.parts:
            yield part() if callable(part) else part


def longs(value: int, rows: int = 1) -> pa.RecordBatch:
    return pa.record_batch([pa.array(np.full(rows, value).tolist(), LONGS.types[0])], schema=LONGS)


@dataclass
class Slow:
    """Takes its time over each batch."""

    seconds: float
    schema: pa.Schema = LONGS
    stats: Any = field(default_factory=stats)

    def new_state(self, context: TaskContext) -> None: ...

    def process(self, batch: pa.RecordBatch, state: None) -> Iterator[pa.RecordBatch]:
        time.sleep(self.seconds)
        yield batch

    def close(self, state: None) -> None: ...


@dataclass
class CountByThread(Collect):
    """How many morsels each worker had."""

    morsels: list[int] = field(default_factory=list)

    def combine(self, states: list[Any], context: TaskContext) -> None:
        super().combine(states, context)
        self.morsels = [len(s) for s in states]


def context(threads: int, limit_bytes: int = 0) -> TaskContext:
    return TaskContext("job", 0, 0, 0, Session(), MemoryTracker(limit_bytes), threads)


@pytest.mark.parametrize("sizes", [[60], [60, 1, 1, 1, 1], [1, 1, 1, 1, 60], [1, 30, 1, 30, 1]])
def test_large_units_keep_all_workers_busy(sizes: list[int]) -> None:
    numbers = iter(range(sum(sizes)))
    source = Longs([[longs(next(numbers)) for _ in range(size)] for size in sizes])
    sink, where = CountByThread(), context(4)
    run_pipeline([Branch(source, (Slow(0.005),))], sink, where)
    assert sink.rows == list(range(sum(sizes)))
    assert min(sink.morsels) >= sum(sizes) // 4 // 2, sink.morsels
    assert where.memory.used_bytes == 0


def test_batches_handed_over_count_as_memory() -> None:
    batch = longs(1, 1000)
    sink, where = Collect(), context(4, limit_bytes=8 * batch.nbytes)
    run_pipeline([Branch(Longs([[batch] * 50]), (Slow(0.001),))], sink, where)
    assert batch.nbytes < where.memory.peak_bytes <= 8 * batch.nbytes
    assert where.memory.used_bytes == 0


LARGEST = Const(999_999_999_999_999_999, LONG.type)
DOUBLED = Project(Values(0, (LONG,)), (Call("+", (Ref(0, LONG.type), Ref(0, LONG.type)), LONG.type),), (LONG,))
SOON_S = 0.05


def slowness(make: Callable[[list[float]], tuple[TaskContext, Branch]]) -> float:
    """Seconds from the failure to the pipeline's end; the best of three, as the machine may be busy."""
    found = []
    for _ in range(3):
        failed_at: list[float] = []
        where, branch = make(failed_at)
        with pytest.raises(QueryError, match="Overflow in addition"):
            run_pipeline([branch], Collect(), where)
        found.append(time.perf_counter() - failed_at[0])
        assert where.memory.used_bytes == 0
    return min(found)


def failing(failed_at: list[float], after_s: float) -> Callable[[], pa.RecordBatch]:
    """A batch that overflows, after a while."""

    def make() -> pa.RecordBatch:
        time.sleep(after_s)
        failed_at.append(time.perf_counter())
        return longs(999_999_999_999_999_999)

    return make


def endless(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    while True:
        yield batch


@pytest.mark.parametrize("threads", [2, 4])
def test_error_in_one_morsel_stops_workers_whose_rows_reach_no_sink(threads: int) -> None:
    rest = longs(7, 100_000)

    def make(failed_at: list[float]) -> tuple[TaskContext, Branch]:
        none = Filter(Values(0, (LONG,)), Compare(">", Ref(0, LONG.type), LARGEST))
        double = ProjectOperator(DOUBLED, LONGS, stats())
        nothing = FilterOperator(none, LONGS, stats())
        source = Longs([endless(rest) for _ in range(threads - 1)] + [[failing(failed_at, 0.1)]])
        return context(threads), Branch(source, (double, nothing))

    assert slowness(make) < SOON_S


def test_error_in_one_morsel_interrupts_what_duckdb_reads_for_another(tmp_path: Path) -> None:
    # in a group of rows without a hit DuckDB does not look up
    spec = parquet_table(tmp_path, "t", "SELECT i::DECIMAL(18,0) AS x FROM range(1000000) r(i)", row_group=1 << 12)
    text: Any = Cast(Ref(0, LONG.type), VARCHAR)
    for _ in range(5):
        text = Call("md5", (text,), VARCHAR)
    table = ScanSource(scan(spec, ["x"], [Compare("=", text, Const("x", VARCHAR))]), [Split(0)], LONGS, stats())

    @dataclass
    class Both(Longs):
        def units(self, context: TaskContext) -> Sequence[Any]:
            return [*table.units(context), *super().units(context)]

    def make(failed_at: list[float]) -> tuple[TaskContext, Branch]:
        return context(2), Branch(Both([[failing(failed_at, 0.2)]]), (ProjectOperator(DOUBLED, LONGS, stats()),))

    assert slowness(make) < SOON_S


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_cancel_stops_kernels_of_all_workers(tmp_path: Path, threads: int) -> None:
    spec = parquet_table(tmp_path, "t", "SELECT 7::BIGINT AS x FROM range(200000)", row_group=1 << 14)
    one, schema = (Field("x", BIGINT),), (Field("n", BIGINT),)
    sides = [scan(spec, ["x"], scan_id=i) for i in (0, 1)]
    join = HashJoin(sides[0], sides[1], "inner", (0,), (0,), (False,), None, (0, 1), one + one)
    root = HashAggregate(join, "single", (), (AggregateCall("count_star", None, None, BIGINT),), schema)
    splits = tuple(group_splits(spec))
    stage = Stage(0, root, Exchange("gather"), (), (Task(0, {0: splits, 1: splits}),))

    def delay() -> float:
        where = Runner(tmp_path, threads).context()
        run = functools.partial(run_task, stage, stage.tasks[0], {}, FileReader(), FileWriter(tmp_path, 0, 0), where)
        took_s = cancel_delay(lambda: (where, run), 0.3)
        assert where.memory.used_bytes == 0
        return took_s

    assert min(delay() for _ in range(3)) < SOON_S


def test_neighbouring_splits_are_read_together_but_not_all_of_them() -> None:
    splits = [Split(0, at * 10, 10) for at in range(7)] + [Split(1, 0, 5), Split(1, 10, 5)]
    assert [s.num_rows for s in merged(splits)] == [70, 5, 5]
    assert [s.num_rows for s in merged(splits, 3)] == [30, 30, 10, 5, 5]
    assert merged(splits, 1) == splits


def test_one_file_is_read_by_several_workers(tmp_path: Path) -> None:
    spec = parquet_table(tmp_path, "t", "SELECT i::BIGINT AS x FROM range(40960) r(i)", row_group=2048)
    source = ScanSource(scan(spec, ["x"]), group_splits(spec), pa.schema([pa.field("c0", pa.int64())]), stats())
    assert [len(source.units(context(threads))) for threads in (1, 2, 4)] == [1, 10, 20]
    sink = Collect()
    run_pipeline([Branch(source)], sink, context(4))
    assert sink.rows == list(range(40960))
