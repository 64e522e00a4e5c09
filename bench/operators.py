"""What one core does in each operator: ours in one thread, DuckDB with one thread beside it, in the same run.

    python bench/operators.py [--only NAME] [--scale 1.0] [--repeats 3] [--json OUT]

A case is one SQL statement. Ours is planned as a query is (bound, optimized and lowered, for one slot, so that all of it is
one task), and the task runs by `run_task` as in an agent, except that it reads batches in memory instead of files: Arrow,
cut as a scan cuts them. DuckDB runs the statement over tables of its own in memory: each side reads the form it likes best,
without decoding files. Both hand their rows out as Arrow. What has no kernel is run by DuckDB inside our task, as it is for
users; few groups, which DuckDB would aggregate while it scans, go through the kernels here. Planning is not part of the times.
Every answer is compared once with DuckDB's. `--only` takes a part of the name.

Times are of the processor, which on an idle machine are the clock's, as one thread works and nothing waits; on a shared one
they are what can be repeated. The ratio is that of the best times; the spread is the worst time over the best one. Exit code
1: an answer differs.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.answers import same_answer
from bench.machine import machine_line
from sabot_sql.catalog.table import ColumnStatistics, DataFile, ScanSpec, Table, TableStatistics
from sabot_sql.engine.result import answer_table
from sabot_sql.executor.exchange import BlockFile, PartitionBlock
from sabot_sql.executor.operator import MemoryTracker, TaskContext
from sabot_sql.executor.scan import batch_rows
from sabot_sql.executor.task import run_task
from sabot_sql.planner import lower as lowering
from sabot_sql.planner.bind import Binder
from sabot_sql.planner.expressions import conjunction
from sabot_sql.planner.lower import lower
from sabot_sql.planner.optimize import optimize
from sabot_sql.planner.physical import (
    DistributedPlan,
    ExchangeRead,
    Filter,
    HashJoin,
    Node,
    Project,
    Relational,
    Scan,
    Session,
    Union,
    Values,
)
from sabot_sql.planner.stages import Cluster
from sabot_sql.types import Field, inner_schema, parse_type

INPUT = 1000  # blocks of tables are numbered from here, by scan

ROWS = 10_000_000
PROBE_ROWS = 6_000_000
WINDOW_ROWS = 5_000_000
NAME = "'Customer#' || lpad(({0})::VARCHAR, 9, '0')"
WORDS = (
    "quick final ironic furious careful special regular express pending silent bold even blithe slow unusual dogged "
    "packages requests accounts deposits foxes ideas theodolites instructions"
).split()


@dataclass(frozen=True, slots=True)
class Made:
    """A table: SQL over `source`, which has `rows` rows: i from 0 on, and the same numbers in no order as r."""

    rows: int
    columns: str

    def relation(self, maker: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyRelation:
        maker.register("source", pa.table({"i": np.arange(self.rows), "r": np.random.default_rng(1).permutation(self.rows)}))
        return maker.sql(f"SELECT {self.columns} FROM (SELECT i, r, (hash(i) >> 1)::BIGINT AS h FROM source)")


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the report.

    Attributes:
        ordered_by: positions of the output columns by which the answer is ordered.
    """

    name: str
    sql: str
    tables: dict[str, Made]
    ordered_by: tuple[int, ...] = ()


Scaled = Callable[[int], int]


def cases(scale: float) -> list[Case]:
    """All cases, with `scale` times the rows, and the groups and keys where they are many."""

    def scaled(number: int) -> int:
        return max(100, round(number * scale)) if number > 100 else number

    return [*group_by(scaled), *joins(scaled), *sorts(scaled), *others(scaled)]


def group_by(scaled: Scaled) -> Iterator[Case]:
    rows = scaled(ROWS)
    for groups in (10, 10_000, 1_500_000, ROWS):
        number = scaled(groups)
        side = max(2, math.isqrt(number))
        kinds = {
            "int": (f"(r % {number} * 1000003)::BIGINT AS a", "a"),
            "string": (f"{NAME.format(f'r % {number}')} AS a", "a"),
            "two keys": (f"(r % {number} // {side})::INTEGER AS a, (r % {number} % {side})::BIGINT AS b", "a, b"),
        }
        for kind, (keys, by) in kinds.items():
            table = Made(rows, f"{keys}, (i % 1000)::BIGINT AS v")
            yield Case(f"group by {kind}, {short(groups)}", f"SELECT {by}, count(*), sum(v) FROM t GROUP BY {by}", {"t": table})


def joins(scaled: Scaled) -> Iterator[Case]:
    rows = scaled(PROBE_ROWS)
    forms = {"int": "({0})::BIGINT", "scattered int": "(hash({0}) >> 2)::BIGINT", "string": NAME}
    statements = {
        "inner": ("SELECT count(*), sum(v), sum(w) FROM p JOIN b ON p.k = b.k", tuple(forms)),
        "semi": ("SELECT count(*), sum(v) FROM p WHERE k IN (SELECT k FROM b)", ("scattered int",)),
        "left": ("SELECT count(*), sum(v), sum(w) FROM p LEFT JOIN b ON p.k = b.k", ("scattered int",)),
    }
    for kind, (sql, keys) in statements.items():
        for key in keys:
            for size in (25, 300_000, 1_500_000, PROBE_ROWS):
                number = scaled(size)
                # semi and left: half of the probe's rows have no match
                values = number if kind == "inner" else 2 * number
                probe = Made(rows, f"{forms[key].format(f'h % {values}')} AS k, (i % 1000)::BIGINT AS v")
                build = Made(number, f"{forms[key].format('r')} AS k, (i % 777)::BIGINT AS w")
                yield Case(f"join {kind} {key}, {short(size)}", sql, {"p": probe, "b": build})


def sorts(scaled: Scaled) -> Iterator[Case]:
    words = "[" + ", ".join(f"'{w}'" for w in WORDS) + "]"
    text = " || ' ' || ".join(f"{words}[1 + (h >> {9 * i}) % {len(WORDS)}]" for i in range(4))
    ints = Made(scaled(ROWS), "(h % 1000000007)::BIGINT AS k, i::INTEGER AS v, (h % 1000)::DOUBLE AS w")
    texts = Made(scaled(ROWS), f"i::INTEGER AS v, {text} AS s")
    yield Case("sort by int", "SELECT k, v, w FROM t ORDER BY k", {"t": ints}, (0,))
    yield Case("sort by string", "SELECT s, v FROM t ORDER BY s", {"t": texts}, (0,))
    yield Case("top 100 by int", "SELECT k, v, w FROM t ORDER BY k, v LIMIT 100", {"t": ints}, (0, 1))


def others(scaled: Scaled) -> Iterator[Case]:
    item = Made(
        scaled(ROWS),
        "DATE '1992-01-01' + (h % 2500)::INTEGER AS day, ((h >> 12) % 11 / 100)::DECIMAL(15, 2) AS discount, "
        "((h >> 20) % 50 + 1)::DECIMAL(15, 2) AS quantity, ((h >> 30) % 10000000 / 100)::DECIMAL(15, 2) AS price",
    )
    where = "day >= DATE '1994-01-01' AND day < DATE '1995-01-01' AND discount BETWEEN 0.05 AND 0.07 AND quantity < 24"
    yield Case("filter, project, sum", f"SELECT sum(price * discount) FROM t WHERE {where}", {"t": item})
    sums = "sum(price), sum(price * (1 - discount)), avg(quantity), count(*)"
    yield Case("filter, project, sums", f"SELECT {sums} FROM t WHERE day <= DATE '1998-09-02'", {"t": item})
    windowed = Made(
        scaled(WINDOW_ROWS), f"(h % {scaled(100_000)})::INTEGER AS g, (h >> 20)::BIGINT AS o, (i % 1000)::BIGINT AS v"
    )
    for name, function in (("rank", "rank()"), ("running sum", "sum(v)")):
        sql = f"SELECT g, o, {function} OVER (PARTITION BY g ORDER BY o) AS x FROM t"
        yield Case(f"window {name}", sql, {"t": windowed})
    values = Made(scaled(ROWS), f"(h % {scaled(10_000)})::BIGINT AS g, ((h >> 20) % {scaled(1_500_000)})::BIGINT AS v")
    yield Case("count distinct", "SELECT count(DISTINCT v) AS n FROM t", {"t": values})
    yield Case("count distinct by group", "SELECT g, count(DISTINCT v) AS n FROM t GROUP BY g", {"t": values})


def short(number: int) -> str:
    """10, 10 k, 1.5 M."""
    for unit, name in ((1_000_000, " M"), (1_000, " k")):
        if number >= unit:
            return f"{number / unit:g}{name}"
    return str(number)


@dataclass(slots=True)
class Tables:
    """The tables of a case, in both forms.

    Attributes:
        maker: a DuckDB that makes them in the form in which agents carry rows.
        duck: another, of one thread, that has them in memory.
        arrow: the same rows as agents carry them.
    """

    maker: duckdb.DuckDBPyConnection
    duck: duckdb.DuckDBPyConnection
    arrow: dict[str, pa.Table] = field(default_factory=dict)
    known: dict[str, Table] = field(default_factory=dict)
    made: int = 0

    def make(self, name: str, table: Made) -> None:
        made = table.relation(self.maker)
        schema = tuple(Field(n, parse_type(str(t))) for n, t in zip(made.columns, made.types))
        rows = made.to_arrow_table().rename_columns([f"c{i}" for i in range(len(schema))])
        counts = ", ".join(f"approx_count_distinct(c{i})" for i in range(len(schema)))
        counted = self.maker.register("rows", rows).sql(f"SELECT {counts} FROM rows").fetchall()[0]
        self.maker.unregister("rows")
        self.maker.unregister("source")
        wanted = inner_schema(schema)
        assert rows.schema.types == wanted.types, (rows.schema, wanted)
        self.arrow[name] = pa.table(rows.columns, schema=wanted).combine_chunks()
        names = ", ".join(f"c{i} AS {f.name}" for i, f in enumerate(schema))
        self.duck.register("rows", rows)
        self.duck.execute(f"CREATE TABLE {name} AS SELECT {names} FROM rows").fetchall()
        self.duck.unregister("rows")
        statistics = {f.name: ColumnStatistics(null_count=0, distinct_count=d) for f, d in zip(schema, counted)}
        spec = ScanSpec("parquet", schema, (DataFile(f"/{name}", 1, 1, rows.num_rows, (rows.num_rows,)),))
        self.made += 1  # a version of its own, as the binder keeps what it was told of a table
        self.known[name] = Table(name, spec, TableStatistics(rows.num_rows, rows.nbytes, "exact", statistics), self.made)

    def drop(self) -> None:
        for name in self.arrow:
            self.duck.execute(f"DROP TABLE {name}").fetchall()
        self.arrow.clear()
        self.known.clear()


class InMemory:
    """Reads blocks from, and writes them to, this process's memory."""

    def __init__(self) -> None:
        self.batches: dict[str, list[pa.RecordBatch]] = {}

    def read(self, block: BlockFile, partition: int) -> Iterator[pa.RecordBatch]:
        return iter(self.batches[block.path])

    def block(self, stage: int) -> BlockFile:
        batches = self.batches[str(stage)]
        size = sum(b.nbytes for b in batches)
        part = PartitionBlock(0, sum(b.num_rows for b in batches), size, tuple(range(len(batches))))
        return BlockFile("bench", stage, 0, 0, "agent", "host", "", str(stage), (part,))


@dataclass(slots=True)
class MemoryWriter:
    """Keeps what a stage writes."""

    store: InMemory
    stage: int

    def write(self, partition: int, batch: pa.RecordBatch) -> None:
        self.store.batches.setdefault(str(self.stage), []).append(batch)

    def finish(self) -> BlockFile:
        self.store.batches.setdefault(str(self.stage), [])
        return self.store.block(self.stage)

    def abort(self) -> None:
        self.store.batches.pop(str(self.stage), None)


class Ours:
    """The plan of a statement over tables in memory, ready to run."""

    def __init__(self, sql: str, tables: Tables, binder: Binder) -> None:
        bound = binder.bind(sql, tables.known.values(), tables.known.__getitem__, Session())
        self.plan: DistributedPlan = lower(optimize(bound.plan), bound.schema, Cluster(slots=1), Session())
        self.store = InMemory()
        self.inputs: dict[int, BlockFile] = {}
        self.morsel_bytes = TaskContext.__dataclass_fields__["morsel_bytes"].default
        self.stages = [
            replace(stage, root=self._from_memory(stage.root, tables), tasks=tuple(map(self._task, stage.tasks)))
            for stage in self.plan.stages
        ]

    def run(self) -> list[pa.RecordBatch]:
        """The batches of the last stage."""
        for stage in self.stages:
            inputs = {i: [self.store.block(i)] for i in stage.inputs} | {i: [b] for i, b in self.inputs.items()}
            assert len(stage.tasks) == 1
            context = TaskContext("bench", stage.stage_id, 0, 0, Session(), MemoryTracker(), morsel_bytes=self.morsel_bytes)
            run_task(stage, stage.tasks[0], inputs, self.store, MemoryWriter(self.store, stage.stage_id), context)
        for stage in self.stages[:-1]:
            self.store.batches.pop(str(stage.stage_id))
        return self.store.batches.pop(str(self.stages[-1].stage_id))

    def _task(self, task: Any) -> Any:
        return replace(task, splits={}, partitions=task.partitions | {i: (0,) for i in self.inputs})

    def _from_memory(self, node: Node, tables: Tables) -> Node:
        """`node` with every scan replaced by a reader of memory under the scan's filters and expressions."""
        match node:
            case Scan():
                return self._reader(node, tables)
            case HashJoin():
                return replace(node, probe=self._from_memory(node.probe, tables), build=self._from_memory(node.build, tables))
            case Union() | Relational():
                return replace(node, inputs=tuple(self._from_memory(n, tables) for n in node.inputs))
            case ExchangeRead() | Values():
                return node
        return replace(node, input=self._from_memory(node.input, tables))

    def _reader(self, node: Scan, tables: Tables) -> Node:
        fields = tuple(f for c in node.columns for f in node.spec.schema if f.name == c)
        schema = inner_schema(fields)
        places = [i for c in node.columns for i, f in enumerate(node.spec.schema) if f.name == c]
        columns = [tables.arrow[node.table].column(i).combine_chunks() for i in places]
        columns = [c.chunk(0) if isinstance(c, pa.ChunkedArray) else c for c in columns]
        whole = pa.RecordBatch.from_arrays(columns, schema=schema)
        step = batch_rows(schema, self.morsel_bytes)
        number = INPUT + node.scan_id
        self.store.batches[str(number)] = [whole.slice(at, step) for at in range(0, whole.num_rows, step)]
        self.inputs[number] = self.store.block(number)
        root: Node = ExchangeRead(number, fields)
        if node.filters:
            root = Filter(root, conjunction(node.filters))
        as_is = len(node.exprs) == len(fields) and all(getattr(e, "index", None) == i for i, e in enumerate(node.exprs))
        return root if as_is else Project(root, node.exprs, node.schema)


def measure(case: Case, tables: Tables, binder: Binder, repeats: int) -> dict[str, Any]:
    """The processor times of both sides in milliseconds, taken in turns after one run each that is compared."""
    ours = Ours(case.sql, tables, binder)
    said = same_answer(tables.duck.sql(case.sql).to_arrow_table(), answer_table(ours.plan, [ours.run()]), case.ordered_by)
    times: dict[str, list[float]] = {"ours": [], "duckdb": []}
    for _ in range(repeats):
        for name, run in (("ours", ours.run), ("duckdb", lambda: tables.duck.sql(case.sql).to_arrow_table())):
            begin = time.process_time()
            answer = run()
            times[name].append((time.process_time() - begin) * 1e3)
            del answer
    return {"name": case.name, **times, "ratio": min(times["ours"]) / min(times["duckdb"]), "difference": said}


def line(found: dict[str, Any]) -> str:
    ours, duck = found["ours"], found["duckdb"]
    sides = (f"{name} {min(t):8.1f} ms (+{max(t) / min(t) - 1:4.0%})" for name, t in (("ours", ours), ("DuckDB", duck)))
    return f"{found['name']:34} {'  '.join(sides)}  {found['ratio']:5.2f}  {found['difference']}".rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", default="")
    args = parser.parse_args(arguments)
    lowering.SCANNED_ROWS = sys.maxsize
    print(f"{machine_line()}; scale {args.scale:g}, best of {args.repeats}")
    found: list[dict[str, Any]] = []
    inner = {"arrow_large_buffer_size": True, "arrow_output_version": "1.5"}
    with duckdb.connect(config=inner) as maker, duckdb.connect(config={"threads": 1}) as duck:
        tables, binder = Tables(maker, duck), Binder()
        for case in cases(args.scale):
            if args.only not in case.name:
                continue
            for name, table in case.tables.items():
                tables.make(name, table)
            found.append(measure(case, tables, binder, args.repeats))
            print(line(found[-1]), flush=True)
            tables.drop()
    ratios = [f["ratio"] for f in found]
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan
    worst = max(found, key=lambda f: f["ratio"], default={"ratio": math.nan, "name": "-"})
    print(f"geometric mean {mean:.2f}, worst {worst['ratio']:.2f} ({worst['name']})")
    if args.json:
        report = {"machine": machine_line(), "scale": args.scale, "geometric_mean": mean, "cases": found}
        Path(args.json).write_text(json.dumps(report, indent=1))
    return 1 if any(f["difference"] for f in found) else 0


if __name__ == "__main__":
    sys.exit(main())
