"""Whole tasks over real files: stages one after the other, against DuckDB, and with faults."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sabot_sql.catalog.table import ScanSpec, Split
from sabot_sql.errors import Cancelled, InternalError, OutOfMemory, QueryError, QueryTimeout, ReadError
from sabot_sql.executor.exchange import BlockFile
from sabot_sql.executor.exchange_read import ExchangeReadSource
from sabot_sql.executor.hash_join import JoinBuildSink
from sabot_sql.executor.operator import MemoryTracker, TaskContext
from sabot_sql.executor.shared_builds import SHARED
from sabot_sql.executor.spill import SpillArea
from sabot_sql.executor.task import TaskResult, run_task
from sabot_sql.planner.expressions import Call, Cast, Compare, Const, Expr, Logic, Ref
from sabot_sql.planner.physical import (
    AggregateCall,
    Exchange,
    ExchangeRead,
    Filter,
    HashAggregate,
    HashJoin,
    JoinKind,
    Limit,
    Node,
    Project,
    Sort,
    SortKey,
    Stage,
    Task,
    Union,
    Values,
    state_types,
)
from sabot_sql.planner.wire import from_wire, to_wire
from sabot_sql.types import BIGINT, DOUBLE, HUGEINT, VARCHAR, Field, Schema, SqlType
from tests.executor.stage_runner import FileReader, FileWriter, Runner, ask, group_splits, parquet_table, scan
from tests.executor.tables import stats

ORDERS = """SELECT i AS o, CASE WHEN i % 11 = 0 THEN NULL ELSE (i * 37) % 100 END AS c, (i % 1000)::DECIMAL(15,2) / 8 AS p,
    CASE WHEN i % 5 = 0 THEN NULL ELSE 'status ' || i % 3 END AS s FROM range(20000) t(i)"""
CUSTOMERS = "SELECT i AS k, 'customer ' || i AS n FROM range(0, 130, 2) t(i)"
DECIMAL = SqlType("DECIMAL", 15, 2)
GATHER = Exchange("gather")


@pytest.fixture
def orders(tmp_path: Path) -> ScanSpec:
    sql = f"SELECT o, c, p::DECIMAL(15,2) AS p, s FROM ({ORDERS})"
    return parquet_table(tmp_path, "orders", sql, files=3)


@pytest.fixture
def customers(tmp_path: Path) -> ScanSpec:
    return parquet_table(tmp_path, "customers", CUSTOMERS, files=2)


def scan_tasks(spec: ScanSpec, count: int, whole: Sequence[int] = (), scan_id: int = 0) -> tuple[Task, ...]:
    """The row groups of a table dealt out to tasks in runs; every task reads the stages `whole`."""
    splits = group_splits(spec)
    step = -(-len(splits) // count)
    given = {stage: (0,) for stage in whole}
    return tuple(Task(i, {scan_id: tuple(splits[i * step : (i + 1) * step])}, dict(given)) for i in range(count))


def partition_tasks(count: int, *stages: int) -> tuple[Task, ...]:
    return tuple(Task(p, {}, {stage: (p,) for stage in stages}) for p in range(count))


def one_task(*stages: int) -> tuple[Task, ...]:
    return (Task(0, {}, {stage: (0,) for stage in stages}),)


def aggregate(below: Node, groups: tuple[int, ...], calls: tuple[AggregateCall, ...], mode: Any) -> HashAggregate:
    keys = tuple(below.schema[g] for g in groups)
    if mode == "partial":
        rest: Schema = tuple(Field("x", t) for c in calls for t in state_types(c))
    else:
        rest = tuple(Field("x", c.type) for c in calls)
    return HashAggregate(below, mode, groups, calls, keys + rest)


def ordered(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows in one order, doubles to ten digits."""
    rounded = [tuple(float(f"{v:.10g}") if isinstance(v, float) else v for v in row) for row in rows]
    return sorted(rounded, key=lambda row: tuple((v is None, v) for v in row))


CALLS = (
    AggregateCall("count_star", None, None, BIGINT),
    AggregateCall("sum", 2, DECIMAL, SqlType("DECIMAL", 38, 2)),
    AggregateCall("avg", 2, DECIMAL, DOUBLE),
    AggregateCall("min", 3, VARCHAR, VARCHAR),
)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("partitions", [1, 2, 5])
def test_scan_filter_and_two_phase_aggregate(tmp_path: Path, orders: ScanSpec, partitions: int, threads: int) -> None:
    rows = scan(orders, ["o", "c", "p", "s"], [Compare(">=", Ref(0, BIGINT), Const(100, BIGINT))])
    kept = Filter(
        rows, Logic("OR", (Compare("<", Ref(1, BIGINT), Const(60, BIGINT)), Compare("=", Ref(2, DECIMAL), Const(0, DECIMAL))))
    )
    partial = aggregate(kept, (1, 3), CALLS, "partial")
    first = Stage(0, partial, Exchange("hash", (0, 1), partitions), (), scan_tasks(orders, 3))
    final = aggregate(ExchangeRead(0, partial.schema), (0, 1), CALLS, "final")
    second = Stage(1, final, GATHER, (0,), partition_tasks(partitions, 0))
    runner = Runner(tmp_path, threads)
    sql = "SELECT c, s, count(*), sum(p), avg(p), min(s) FROM orders WHERE o >= 100 AND (c < 60 OR p = 0) GROUP BY ALL"
    assert ordered(runner.run(first, second)) == ordered(ask(sql, orders=orders))


def test_hash_exchange_sends_each_group_to_one_task(tmp_path: Path, orders: ScanSpec) -> None:
    partial = aggregate(scan(orders, ["o", "c", "p", "s"]), (1,), CALLS, "partial")
    runner = Runner(tmp_path)
    runner.run(Stage(0, partial, Exchange("hash", (0,), 4), (), scan_tasks(orders, 3)))
    seen: dict[Any, set[int]] = {}
    for block in runner.blocks[0]:
        for part in block.partitions:
            for batch in FileReader().read(block, part.partition):
                for key in batch.column(0).to_pylist():
                    seen.setdefault(key, set()).add(part.partition)
    assert len(seen) == 101
    assert all(len(partitions) == 1 for partitions in seen.values())


def test_one_task_may_read_several_partitions(tmp_path: Path, orders: ScanSpec) -> None:
    rows = scan(orders, ["o", "c"])
    first = Stage(0, rows, Exchange("hash", (1,), 4), (), scan_tasks(orders, 2))
    tasks = (Task(0, {}, {0: (3, 0)}), Task(1, {}, {0: (1, 2)}), Task(2))
    second = Stage(1, ExchangeRead(0, rows.schema), GATHER, (0,), tasks)
    found = Runner(tmp_path).run(first, second)
    assert ordered(found) == ordered(ask("SELECT o, c FROM orders", orders=orders))


def test_hash_exchange_without_keys_goes_to_partition_zero(tmp_path: Path, orders: ScanSpec) -> None:
    runner = Runner(tmp_path)
    runner.run(Stage(0, scan(orders, ["o"]), Exchange("hash", (), 4), (), scan_tasks(orders, 2)))
    assert [[p.partition for p in b.partitions] for b in runner.blocks[0]] == [[0], [0]]


def test_ungrouped_aggregate_over_no_rows_gives_one_row(tmp_path: Path, orders: ScanSpec) -> None:
    empty = Filter(scan(orders, ["o", "c", "p", "s"]), Compare("<", Ref(0, BIGINT), Const(0, BIGINT)))
    partial = aggregate(empty, (), CALLS, "partial")
    first = Stage(0, partial, Exchange("hash", (), 1), (), (*scan_tasks(orders, 2), Task(2)))
    second = Stage(1, aggregate(ExchangeRead(0, partial.schema), (), CALLS, "final"), GATHER, (0,), one_task(0))
    assert Runner(tmp_path).run(first, second) == [(0, None, None, None)]


def test_count_of_rows_needs_no_column(tmp_path: Path, orders: ScanSpec) -> None:
    bare = replace(scan(orders, []), exprs=(), schema=())
    partial = aggregate(bare, (), CALLS[:1], "partial")
    first = Stage(0, partial, GATHER, (), scan_tasks(orders, 3))
    second = Stage(1, aggregate(ExchangeRead(0, partial.schema), (), CALLS[:1], "final"), GATHER, (0,), one_task(0))
    assert Runner(tmp_path).run(first, second) == [(20000,)]


def test_rows_without_columns_survive_an_exchange(tmp_path: Path, orders: ScanSpec) -> None:
    first = Stage(0, replace(scan(orders, []), exprs=(), schema=()), GATHER, (), scan_tasks(orders, 3))
    second = Stage(1, aggregate(ExchangeRead(0, ()), (), CALLS[:1], "single"), GATHER, (0,), one_task(0))
    assert Runner(tmp_path).run(first, second) == [(20000,)]


def join(probe: Node, build: Node, kind: Any, output: tuple[int, ...], **more: Any) -> HashJoin:
    both = (*probe.schema, *build.schema)
    schema = tuple(both[i] for i in output)
    fields = {"probe_keys": (1,), "build_keys": (0,), "null_equal": (False,), "residual": None, **more}
    return HashJoin(probe, build, kind, **fields, output=output, schema=schema)


JOINS = {
    "inner": ("SELECT o, c, n FROM orders JOIN customers ON c = k", (0, 1, 3)),
    "left": ("SELECT o, c, n FROM orders LEFT JOIN customers ON c = k", (0, 1, 3)),
    "semi": ("SELECT o, c FROM orders SEMI JOIN customers ON c = k", (0, 1)),
    "anti": ("SELECT o, c FROM orders ANTI JOIN customers ON c = k", (0, 1)),
}


@pytest.mark.parametrize("kind", list(JOINS))
def test_broadcast_join_keeps_the_order_of_the_probe(tmp_path: Path, orders: ScanSpec, customers: ScanSpec, kind: str) -> None:
    sql, output = JOINS[kind]
    build = Stage(0, scan(customers, ["k", "n"]), Exchange("broadcast"), (), scan_tasks(customers, 2))
    root = join(scan(orders, ["o", "c"]), ExchangeRead(0, build.root.schema), kind, output)
    probe = Stage(1, root, GATHER, (0,), scan_tasks(orders, 3, whole=(0,)))
    assert Runner(tmp_path).run(build, probe) == ask(f"{sql} ORDER BY o", orders=orders, customers=customers)


@pytest.mark.parametrize("kind", list(JOINS))
def test_shuffle_join(tmp_path: Path, orders: ScanSpec, customers: ScanSpec, kind: str) -> None:
    sql, output = JOINS[kind]
    left = Stage(0, scan(orders, ["o", "c"]), Exchange("hash", (1,), 3), (), scan_tasks(orders, 2))
    right = Stage(1, scan(customers, ["k", "n"]), Exchange("hash", (0,), 3), (), scan_tasks(customers, 2))
    root = join(ExchangeRead(0, left.root.schema), ExchangeRead(1, right.root.schema), kind, output)
    last = Stage(2, root, GATHER, (0, 1), partition_tasks(3, 0, 1))
    assert ordered(Runner(tmp_path).run(left, right, last)) == ordered(ask(sql, orders=orders, customers=customers))


def test_join_condition_that_needs_duckdb_is_part_of_the_match(tmp_path: Path, orders: ScanSpec, customers: ScanSpec) -> None:
    both = Call("||", (Ref(3, VARCHAR), Const("%", VARCHAR)), VARCHAR)
    like = Call("~~", (Const("customer 12 and more", VARCHAR), both), Compare("=", both, both).type)
    root = join(scan(orders, ["o", "c"]), scan(customers, ["k", "n"], scan_id=1), "left", (0, 3), residual=like)
    tasks = (Task(0, {0: tuple(group_splits(orders)), 1: tuple(group_splits(customers))}),)
    sql = "SELECT o, n FROM orders LEFT JOIN customers ON c = k AND 'customer 12 and more' LIKE n || '%' ORDER BY o"
    assert Runner(tmp_path).run(Stage(0, root, GATHER, (), tasks)) == ask(sql, orders=orders, customers=customers)


def test_join_without_output_columns_is_counted(tmp_path: Path, orders: ScanSpec, customers: ScanSpec) -> None:
    root = join(scan(orders, ["o", "c"]), scan(customers, ["k"], scan_id=1), "inner", ())
    tasks = (Task(0, {0: tuple(group_splits(orders)), 1: tuple(group_splits(customers))}),)
    found = Runner(tmp_path).run(Stage(0, aggregate(root, (), CALLS[:1], "single"), GATHER, (), tasks))
    assert found == ask("SELECT count(*) FROM orders JOIN customers ON c = k", orders=orders, customers=customers)


def test_sort_of_everything(tmp_path: Path, orders: ScanSpec) -> None:
    keys = (SortKey(3, nulls_first=True), SortKey(2, descending=True), SortKey(0))
    first = Stage(0, scan(orders, ["o", "c", "p", "s"]), GATHER, (), scan_tasks(orders, 3))
    second = Stage(1, Sort(ExchangeRead(0, first.root.schema), keys), GATHER, (0,), one_task(0))
    sql = "SELECT o, c, p, s FROM orders ORDER BY s NULLS FIRST, p DESC NULLS LAST, o"
    assert Runner(tmp_path, morsel_bytes=1 << 14).run(first, second) == ask(sql, orders=orders)


def test_top_n_in_two_steps(tmp_path: Path, orders: ScanSpec) -> None:
    keys = (SortKey(1, descending=True), SortKey(0))
    top = Sort(scan(orders, ["o", "p"]), keys, 25)
    first = Stage(0, top, GATHER, (), scan_tasks(orders, 3))
    second = Stage(1, Sort(ExchangeRead(0, top.schema), keys, 20, 5), GATHER, (0,), one_task(0))
    sql = "SELECT o, p FROM orders ORDER BY p DESC NULLS LAST, o LIMIT 20 OFFSET 5"
    assert Runner(tmp_path).run(first, second) == ask(sql, orders=orders)


@pytest.mark.parametrize("threads", [1, 3])
def test_limit_without_order_takes_the_first_rows(tmp_path: Path, orders: ScanSpec, threads: int) -> None:
    root = Limit(scan(orders, ["o"]), 5000)
    first = Stage(0, root, GATHER, (), scan_tasks(orders, 3))
    second = Stage(1, Limit(ExchangeRead(0, root.schema), 4990, 10), GATHER, (0,), one_task(0))
    runner = Runner(tmp_path, threads)
    assert runner.run(first, second) == [(i,) for i in range(10, 5000)]


@pytest.mark.parametrize("threads", [1, 3])
def test_gather_keeps_the_order_of_tasks_units_and_batches(tmp_path: Path, orders: ScanSpec, threads: int) -> None:
    first = Stage(0, scan(orders, ["o"]), GATHER, (), scan_tasks(orders, 2))
    second = Stage(1, ExchangeRead(0, first.root.schema), GATHER, (0,), one_task(0))
    assert Runner(tmp_path, threads, morsel_bytes=1 << 12).run(first, second) == [(i,) for i in range(20000)]


def test_union_all_with_operators_above_and_below(tmp_path: Path, orders: ScanSpec, customers: ScanSpec) -> None:
    few = Filter(scan(orders, ["o"]), Compare("<", Ref(0, BIGINT), Const(3, BIGINT)))
    one = Project(Values(1, ()), (Const(-1, BIGINT),), few.schema)
    both = Union((few, scan(customers, ["k"], scan_id=1), one, few), few.schema)
    above = Limit(Project(both, (Call("+", (Ref(0, BIGINT), Const(1, BIGINT)), BIGINT),), few.schema), 70, 1)
    tasks = (Task(0, {0: tuple(group_splits(orders)), 1: tuple(group_splits(customers))}),)
    expected = [1, 2, 3, *range(1, 131, 2), 0, 1, 2, 3]
    assert Runner(tmp_path).run(Stage(0, above, GATHER, (), tasks)) == [(x,) for x in expected[1:71]]


def test_counters_name_every_operator_by_its_place_in_the_tree(tmp_path: Path, orders: ScanSpec, customers: ScanSpec) -> None:
    kept = Filter(scan(orders, ["o", "c"]), Compare("<", Ref(0, BIGINT), Const(1000, BIGINT)))
    root = aggregate(join(kept, scan(customers, ["k"], scan_id=1), "semi", (0, 1)), (), CALLS[:1], "single")
    tasks = (Task(0, {0: tuple(group_splits(orders)), 1: tuple(group_splits(customers))}),)
    runner = Runner(tmp_path)
    ((count,),) = runner.run(Stage(0, root, GATHER, (), tasks))
    counters = {(s["node"], s["name"], s["engine"]): (s["rows_in"], s["rows_out"]) for s in runner.results[0][0].stats}
    assert counters == {
        (0, "HashAggregate", "numba"): (count, 1),
        (1, "HashJoinBuild", "numba"): (65, 0),
        (1, "HashJoin", "numba"): (count, count),
        (2, "Filter", "numba"): (9090, count),
        (3, "Scan", "duckdb"): (20000, 9090),  # the build side says which of its rows can match
        (4, "Scan", "duckdb"): (65, 65),
        (-1, "ExchangeWrite", "numba"): (1, 1),
    }
    assert runner.results[0][0].peak_memory_bytes > 0


def test_result_of_a_task_travels(tmp_path: Path, orders: ScanSpec) -> None:
    runner = Runner(tmp_path)
    runner.run(Stage(0, scan(orders, ["o"]), GATHER, (), scan_tasks(orders, 2)))
    (first, _) = runner.results[0]
    assert from_wire(to_wire(first), TaskResult) == first


def fail(stage: Stage, folder: Path, context: TaskContext) -> FileWriter:
    """Run a stage's task that must fail; its memory must be free and its block gone."""
    writer = FileWriter(folder, 0, 0)
    try:
        run_task(stage, stage.tasks[0], {}, FileReader(), writer, context)
    finally:
        assert context.memory.used_bytes == 0
        assert writer.aborted
        assert not writer.path.exists()
    return writer


def test_corrupt_file_fails_the_task_and_is_named(tmp_path: Path, orders: ScanSpec) -> None:
    path = Path(orders.files[1].path)
    path.write_bytes(path.read_bytes()[:-4] + b"XXXX")
    file = replace(orders.files[1], mtime_ns=path.stat().st_mtime_ns)
    broken = replace(orders, files=(orders.files[0], file, orders.files[2]))
    stage = Stage(0, Sort(scan(broken, ["o"]), (SortKey(0),)), GATHER, (), scan_tasks(broken, 1))
    with pytest.raises(ReadError, match=str(path)):
        fail(stage, tmp_path, Runner(tmp_path).context())


@pytest.mark.parametrize("threads", [1, 2])
def test_error_above_a_scan_fails_the_task(tmp_path: Path, orders: ScanSpec, threads: int) -> None:
    root = aggregate(Project(scan(orders, ["s"]), (Cast(Ref(0, VARCHAR), BIGINT),), (Field("x", BIGINT),)), (0,), (), "single")
    with pytest.raises(QueryError, match="status \\d"):
        fail(Stage(0, root, GATHER, (), scan_tasks(orders, 1)), tmp_path, Runner(tmp_path, threads).context())


def test_memory_limit_fails_the_task(tmp_path: Path, orders: ScanSpec) -> None:
    context = Runner(tmp_path).context()
    context.memory = MemoryTracker(200_000)
    stage = Stage(0, Sort(scan(orders, ["o", "s"]), (SortKey(1),)), GATHER, (), scan_tasks(orders, 1))
    with pytest.raises(OutOfMemory):
        fail(stage, tmp_path, context)


@pytest.fixture
def long_stage(tmp_path: Path) -> Stage:
    """Seconds inside one DuckDB query that gives no row. DuckDB can be interrupted between row groups, so they are small."""
    spec = parquet_table(tmp_path, "long", "SELECT i FROM range(1000000) t(i)", row_group=8192)
    hashed: Expr = Cast(Ref(0, BIGINT), VARCHAR)
    for _ in range(10):
        hashed = Call("md5", (hashed,), VARCHAR)
    never = Compare("=", hashed, Const("", VARCHAR))
    return Stage(0, scan(spec, ["i"], [never]), GATHER, (), (Task(0, {0: (Split(0),)}),))


def test_cancel_stops_a_task_that_is_inside_duckdb_within_100_ms(tmp_path: Path, long_stage: Stage) -> None:
    took = []
    for _ in range(3):  # the best of three: the machine may be busy with something else
        context = Runner(tmp_path).context()
        timer = threading.Timer(0.1, context.cancelled.set)
        began = time.monotonic()
        timer.start()
        with pytest.raises(Cancelled):
            fail(long_stage, tmp_path, context)
        took.append(time.monotonic() - began - 0.1)
        timer.join()
    assert 0 <= min(took) < 0.1


def test_deadline_stops_a_task_that_is_inside_duckdb(tmp_path: Path, long_stage: Stage) -> None:
    context = Runner(tmp_path).context()
    context.deadline_s = time.monotonic() + 0.2
    with pytest.raises(QueryTimeout):
        fail(long_stage, tmp_path, context)
    assert 0 <= time.monotonic() - context.deadline_s < 0.5


def test_block_of_another_shape_is_our_bug(tmp_path: Path, orders: ScanSpec) -> None:
    runner = Runner(tmp_path)
    runner.run(Stage(0, scan(orders, ["o"]), GATHER, (), scan_tasks(orders, 1)))
    schema = pa.schema([pa.field("c0", pa.int32())])
    source = ExchangeReadSource(runner.blocks[0], (0,), FileReader(), schema, stats())
    with pytest.raises(InternalError, match="its reader expects"):
        list(source.units(runner.context())[0].batches(runner.context()))


def test_small_pieces_are_put_together_before_they_are_written(tmp_path: Path, orders: ScanSpec) -> None:
    runner = Runner(tmp_path, morsel_bytes=1 << 16)
    runner.run(Stage(0, scan(orders, ["o"]), Exchange("hash", (0,), 8), (), scan_tasks(orders, 1)))
    (block,) = runner.blocks[0]
    assert [len(p.batches) for p in block.partitions] == [1] * 8


class PatientReader(FileReader):
    """Reads only when `users` tasks hold the one shared table."""

    def __init__(self, users: int) -> None:
        self.users = users

    def read(self, block: BlockFile, partition: int) -> Iterator[pa.RecordBatch]:
        while sum(e.users for e in SHARED._entries.values()) < self.users:
            time.sleep(0.001)
        return super().read(block, partition)


@pytest.mark.parametrize("num_tasks", [2, 4])
def test_tasks_that_run_at_once_build_the_table_of_a_broadcast_once(
    tmp_path: Path, orders: ScanSpec, customers: ScanSpec, num_tasks: int
) -> None:
    build = Stage(0, scan(customers, ["k", "n"]), Exchange("broadcast"), (), scan_tasks(customers, 2))
    root = join(scan(orders, ["o", "c"]), ExchangeRead(0, build.root.schema), "inner", (0, 1, 3))
    probe = Stage(1, root, GATHER, (0,), scan_tasks(orders, num_tasks, whole=(0,)))
    runner = Runner(tmp_path)
    runner.run(build)

    def run(task: Task) -> TaskResult:
        writer, context = FileWriter(tmp_path, 1, task.index), runner.context(1, task.index)
        return run_task(probe, task, {0: runner.blocks[0]}, PatientReader(num_tasks), writer, context)

    with ThreadPoolExecutor(num_tasks) as pool:
        results = list(pool.map(run, probe.tasks))
    runner.blocks[1] = [r.block for r in results]
    expected = ask("SELECT o, c, n FROM orders JOIN customers ON c = k ORDER BY o", orders=orders, customers=customers)
    assert runner.run(Stage(2, ExchangeRead(1, root.schema), GATHER, (1,), one_task(1))) == expected
    assert [s["rows_in"] for r in results for s in r.stats if s["name"] == "HashJoinBuild"] == [65]
    assert all(c.memory.used_bytes == 0 for c in runner.contexts)
    assert not SHARED._entries


@pytest.mark.parametrize("kind", ["inner", "left", "anti"])
def test_tasks_that_run_at_once_share_the_parts_of_a_build_side_that_does_not_fit(tmp_path: Path, kind: JoinKind) -> None:
    left = parquet_table(tmp_path, "l", "SELECT hash(i) % 40000 AS a, i AS b FROM range(20000) t(i)", 2)
    right = parquet_table(tmp_path, "r", "SELECT hash(i) % 40000 AS k, 'name of ' || i AS n FROM range(20000) t(i)", 2)
    build = Stage(0, scan(right, ["k", "n"]), Exchange("broadcast"), (), scan_tasks(right, 2))
    root = join(scan(left, ["b", "a"]), ExchangeRead(0, build.root.schema), kind, (0,) if kind == "anti" else (0, 3))
    probe = Stage(1, root, GATHER, (0,), scan_tasks(left, 3, whole=(0,)))
    runner = Runner(tmp_path, morsel_bytes=1 << 15)
    runner.run(build)
    folder = tmp_path / "spill"
    folder.mkdir()
    area = SpillArea(folder)

    def run(task: Task) -> TaskResult:
        writer, context = FileWriter(tmp_path, 1, task.index), runner.context(1, task.index)
        context.memory, context.spill = MemoryTracker(2 << 20), area.scope("job")
        return run_task(probe, task, {0: runner.blocks[0]}, PatientReader(3), writer, context)

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(run, probe.tasks))
    runner.blocks[1] = [r.block for r in results]
    condition = "WHERE a NOT IN (SELECT k FROM r)" if kind == "anti" else f"{kind} JOIN r ON a = k"
    expected = ask(f"SELECT b{'' if kind == 'anti' else ', n'} FROM l {condition}", l=left, r=right)
    found = runner.run(Stage(2, ExchangeRead(1, root.schema), GATHER, (1,), one_task(1)))
    assert Counter(found) == Counter(expected)
    assert [s["rows_in"] for r in results for s in r.stats if s["name"] == "HashJoinBuild"] == [20_000]
    assert all(s["bytes_spilled"] for r in results for s in r.stats if s["name"].startswith("HashJoin"))
    assert (area.used_bytes, list(folder.iterdir()), SHARED._entries) == (0, [], {})


def test_table_is_built_by_the_next_task_when_the_first_fails(tmp_path: Path, customers: ScanSpec) -> None:
    node = join(scan(customers, ["n", "k"]), ExchangeRead(0, (Field("k", BIGINT),)), "semi", (0,))
    schema = pa.schema([pa.field("c0", pa.int64())])
    context = Runner(tmp_path).context()
    shared = SHARED.acquire("key", lambda: JoinBuildSink(node, node.build.schema, schema, stats()), context)
    built: list[TaskContext] = []
    with pytest.raises(ReadError):
        shared.build(raise_read_error, context)
    shared.build(built.append, context)
    shared.build(built.append, context)
    SHARED.release(shared, context)
    assert len(built) == 1
    assert built[0].memory is shared.memory


def raise_read_error(context: TaskContext) -> None:
    context.memory.reserve(100, "a test")
    raise ReadError("gone")


def test_sum_of_integers_is_exact(tmp_path: Path, orders: ScanSpec) -> None:
    large = Project(scan(orders, ["o"]), (Const(2**63 - 1, BIGINT),), (Field("x", BIGINT),))
    root = aggregate(large, (), (AggregateCall("sum", 0, BIGINT, HUGEINT),), "single")
    ((found,),) = Runner(tmp_path).run(Stage(0, root, GATHER, (), scan_tasks(orders, 1)))
    assert int(found) == 20000 * (2**63 - 1)
