"""What two steps are worth for aggregates without kernels: states where the rows are, against whole groups, beside DuckDB.

    python bench/aggregate_states.py --data FOLDER [--repeats 9] [--agents 2] [--json OUT]

FOLDER holds TPC-H's `lineitem` as Parquet. The three ways take turns, each time with a new literal, and every answer is
compared with DuckDB's, which has as many threads as there are agents.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import duckdb
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sabot_sql
from bench.machine import machine_line, quantile
from sabot_sql.client.difference import difference
from sabot_sql.planner import lower

Way = Callable[[str], pa.Table]

MOMENTS = "stddev(l_extendedprice::DOUBLE + {n}) s, corr(l_quantity::DOUBLE, l_extendedprice::DOUBLE) c"
QUERIES = {
    "stddev, corr, no groups": f"SELECT {MOMENTS} FROM lineitem",
    "stddev, corr by 10": f"SELECT l_orderkey % 10 g, {MOMENTS} FROM lineitem GROUP BY g",
    "stddev, corr by 1,000": f"SELECT l_partkey % 1000 g, {MOMENTS} FROM lineitem GROUP BY g",
    "stddev, arg_max by 10,000": "SELECT l_suppkey g, stddev(l_tax + {n}) s, max_by(l_orderkey, (l_shipdate, l_orderkey)) m "
    "FROM lineitem GROUP BY g",
    "stddev by 200,000": "SELECT l_partkey g, stddev(l_tax + {n}) s FROM lineitem GROUP BY g ORDER BY s DESC, g LIMIT 9",
    "approx_count_distinct by 7": "SELECT l_shipmode g, approx_count_distinct(l_partkey + {n}) s FROM lineitem GROUP BY g",
    "stddev, corr by 7 over a join": "SELECT l_shipmode g, " + MOMENTS + " FROM lineitem JOIN "
    "(SELECT DISTINCT l_suppkey k FROM lineitem WHERE l_suppkey % 2 = 0) ON k = l_suppkey GROUP BY g",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    print(machine_line())
    report: dict[str, object] = {"machine": machine_line()}
    duck = duckdb.connect(config={"threads": args.agents})
    duck.execute(f"CREATE VIEW lineitem AS FROM read_parquet('{args.data}/lineitem/*.parquet')").fetchall()
    with sabot_sql.connect(data=args.data, num_local_agents=args.agents) as db:

        def states(sql: str) -> pa.Table:
            return db.execute_sql(sql, route="distributed").to_arrow()

        def whole(sql: str) -> pa.Table:
            with mock.patch.object(lower, "states_of", return_value=None):
                return states(sql)

        def on_duckdb(sql: str) -> pa.Table:
            return duck.sql(sql).to_arrow_table()

        ways: dict[str, Way] = {"DuckDB": on_duckdb, "whole groups": whole, "two steps": states}
        for name, sql in QUERIES.items():
            report[name] = found = measure(ways, sql, args.repeats)
            print(
                f"{name:32}" + "".join(f"  {way} p50 {quantile(ms, 0.5):6.0f} min {min(ms):6.0f}" for way, ms in found.items())
            )
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=1))
    return 0


def measure(ways: dict[str, Way], sql: str, repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each way; the first round warms up."""
    found: dict[str, list[float]] = {way: [] for way in ways}
    for n in range(repeats + 1):
        answers = []
        for i, (way, run) in enumerate(ways.items()):
            begin = time.perf_counter()
            answers.append(run(sql.format(n=n) + " " * i))  # a text of its own, or a kept plan would be run
            found[way].append((time.perf_counter() - begin) * 1e3)
        for answer in answers[1:]:
            assert (said := difference(answers[0], answer)) == "", said
    return {way: times[1:] for way, times in found.items()}


if __name__ == "__main__":
    sys.exit(main())
