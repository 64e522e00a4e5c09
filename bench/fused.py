"""What one generated function for an expression is worth, against a kernel call an operator and against DuckDB.

    python bench/fused.py --data FOLDER [--repeats 5] [--json OUT]

FOLDER holds TPC-H's `lineitem` as Parquet. Milliseconds of one thread for all its rows: over batches in memory of several
sizes, answers compared; and where a scan stands below, done by DuckDB's reader or over the raw columns that it hands out, from
Parquet and from a table as the column cache keeps it.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.machine import machine_line, quantile
from sabot_sql.executor.columns import wrap_fixed
from sabot_sql.executor.duckdb_session import CONFIG
from sabot_sql.executor.evaluate import DuckQuery, MorselView
from sabot_sql.executor.fused import call
from sabot_sql.executor.fused_source import Program, write
from sabot_sql.executor.operator import MemoryTracker, TaskContext
from sabot_sql.planner.expressions import Call, Case, Cast, Compare, Const, Expr, Logic, Ref, remap
from sabot_sql.planner.physical import Session
from sabot_sql.planner.render import render_output
from sabot_sql.types import Field, SqlType, inner_arrow_type, parse_type

MONEY, DATE = parse_type("DECIMAL(15,2)"), parse_type("DATE")
NAMES = ["l_extendedprice", "l_discount", "l_tax", "l_quantity", "l_shipdate", "l_commitdate", "l_receiptdate"]
TYPES = tuple(Field(n, DATE if n.endswith("date") else MONEY) for n in NAMES)
PRICE, DISCOUNT, TAX, QUANTITY, SHIPPED, COMMITTED, RECEIVED = (Ref(i, f.type) for i, f in enumerate(TYPES))
ROWS = [1 << 14, 1 << 16, 1 << 18]
SCAN_ROWS = 1 << 16


def decimal(width: int, scale: int) -> SqlType:
    return SqlType("DECIMAL", width, scale)


def day(number: int) -> Const:
    return Const(number, DATE)


NET = Call(
    "*", (PRICE, Call("-", (Const(100, decimal(16, 2)), Cast(DISCOUNT, decimal(16, 2))), decimal(16, 2))), decimal(18, 4)
)
EXPRESSIONS: dict[str, Expr] = {
    "price * (1 - discount) * (1 + tax)": Call(
        "*", (NET, Call("+", (Const(100, decimal(16, 2)), Cast(TAX, decimal(16, 2))), decimal(16, 2))), decimal(18, 6)
    ),
    "five conditions, a date range": Logic(
        "AND",
        (
            Compare(">=", SHIPPED, day(8766)),
            Compare("<", SHIPPED, day(9131)),
            Compare(">=", DISCOUNT, Const(5, MONEY)),
            Compare("<=", DISCOUNT, Const(7, MONEY)),
            Compare("<", QUANTITY, Const(2400, MONEY)),
        ),
    ),
    "five conditions on three dates": Logic(
        "AND",
        (
            Compare("<", COMMITTED, RECEIVED),
            Compare("<", SHIPPED, COMMITTED),
            Compare(">=", RECEIVED, day(8766)),
            Compare("<", RECEIVED, day(9131)),
            Compare("<", QUANTITY, Const(4000, MONEY)),
        ),
    ),
    "CASE with two conditions": Case(
        ((Compare("<", SHIPPED, day(9131)), NET), (Compare(">", QUANTITY, Const(2400, MONEY)), Const(0, decimal(18, 4)))),
        Const(1, decimal(18, 4)),
        decimal(18, 4),
    ),
}


class Fused:
    """An expression's function, compiled."""

    def __init__(self, expr: Expr, folder: Path) -> None:
        self.expr = expr
        self.program = write((expr,), with_nulls=False)
        self.program.generated().compile(folder)
        found = self.program.generated().load(folder)
        assert found is not None
        self.function = found

    def __call__(self, batch: pa.RecordBatch, program: Program | None = None) -> pa.Array:
        found = call(self.function, program or self.program, batch)
        assert found is not None
        return wrap_fixed(*found[0], inner_arrow_type(self.expr.type))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    print(machine_line())
    report: dict[str, Any] = {"machine": machine_line()}
    files = f"read_parquet('{args.data}/lineitem/*.parquet')"
    duck = duckdb.connect(config=CONFIG)
    duck.execute("ATTACH ':memory:' AS hot (COMPRESS)")
    duck.execute(f"CREATE TABLE hot.t AS SELECT {', '.join(NAMES)} FROM {files}")
    duck.execute("CHECKPOINT hot")
    with tempfile.TemporaryDirectory() as folder:
        for name, expr in EXPRESSIONS.items():
            fused = Fused(expr, Path(folder))
            report[name] = in_memory(duck, expr, fused, args.repeats) | scanned(duck, files, expr, fused, args.repeats)
            for place, found in report[name].items():
                times = "  ".join(f"{way} {quantile(ms, 0.5):5.0f} (min {min(ms):4.0f})" for way, ms in found.items())
                print(f"{name:36} {place:>12}:  {times}", flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=1))
    return 0


def in_memory(duck: duckdb.DuckDBPyConnection, expr: Expr, fused: Fused, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each way over batches of each size."""
    columns = ", ".join(f"{n} AS c{i}" for i, n in enumerate(NAMES))
    (rows,) = duck._submit(f"SELECT {columns} FROM hot.t", None, "arrow").arrow_table().combine_chunks().to_batches()
    context, query = TaskContext("bench", 0, 0, 0, Session(), MemoryTracker()), DuckQuery((expr,))
    found = {}
    for size in ROWS:
        batches = [rows.slice(at, size) for at in range(0, rows.num_rows, size)]
        ways: dict[str, Callable[[pa.RecordBatch], pa.Array]] = {
            "fused": fused,
            "kernels": lambda b: MorselView(b, TYPES).array(expr, inner_arrow_type(expr.type)),
            "DuckDB": lambda b: query.run(b, context)[0],
        }
        assert len({str(way(batches[0]).to_pylist()) for way in ways.values()}) == 1
        runs = {name: functools.partial(over, way, batches) for name, way in ways.items()}
        found[f"{size:,} rows"] = measure(runs, repeats)
    return found


def scanned(
    duck: duckdb.DuckDBPyConnection, files: str, expr: Expr, fused: Fused, repeats: int
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of a scan that computes the expression, and of one below a function that does."""
    used = fused.program.columns
    program = write((remap(expr, {old: new for new, old in enumerate(used)}),), with_nulls=False)
    raw = ", ".join(f"{NAMES[i]} AS c{new}" for new, i in enumerate(used))
    found = {}
    for place, where in (("Parquet", files), ("cached", "hot.t")):
        inside, below = f"SELECT {render_output(expr, NAMES)} AS r FROM {where}", f"SELECT {raw} FROM {where}"
        runs = {
            "in the reader": lambda sql=inside: over(lambda batch: batch, stream(duck, sql)),
            "fused above": lambda sql=below: over(lambda batch: fused(batch, program), stream(duck, sql)),
        }
        found[place] = measure(runs, repeats)
    return found


def over(way: Callable[[pa.RecordBatch], object], batches: Iterable[pa.RecordBatch]) -> None:
    for batch in batches:
        way(batch)


def stream(duck: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pa.RecordBatch]:
    with contextlib.closing(duck._submit(sql, None, "stream", SCAN_ROWS).arrow_reader()) as reader:
        yield from reader


def measure(runs: Mapping[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each run; they take turns."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            found[name].append((time.perf_counter() - began) * 1e3)
    return found


if __name__ == "__main__":
    sys.exit(main())
