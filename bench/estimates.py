"""How good row estimates and routes are: the q-errors of rows scanned and rows out over TPC-H, before and after statistics
are learnt and after history; what an estimate costs; and how often the route is the one an oracle would take.

    python bench/estimates.py [--data DIR] [--sf 1] [--repeats 3] [--agents 2] [--only estimates|routes] [--json OUT]

DIR has a folder of Parquet files a table; without it tpchgen-cli writes them to a temporary folder. The q-error of an
estimate e of t rows is max(e/t, t/e), both at least 1. The truth is DuckDB's: the rows it gives, and of each scan the row
groups it read. The oracle knows the time on both routes; a route is counted as its choice where it is not more than a tenth
slower than the other one, for then the difference is noise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sabot_sql
from bench.machine import machine_line, quantile
from sabot_sql.catalog.catalog import Catalog
from sabot_sql.planner.estimate import estimate
from sabot_sql.planner.parse import parse

QUERIES = sorted((Path(__file__).parent / "accept" / "tpch" / "queries").glob("*.sql"))

SMALL = {
    "one": "select 1",
    "nation": "select * from nation order by n_name",
    "limit": "select * from lineitem limit 10",
    "limit_join": "select o_orderdate from orders join lineitem on l_orderkey = o_orderkey where o_orderkey < 100 limit 10",
    "point": "select * from orders where o_orderkey = 3000001",
    "point_join": "select * from orders join lineitem on l_orderkey = o_orderkey where o_orderkey = 3000001",
    "range": "select count(*), sum(l_quantity) from lineitem where l_orderkey between 1000 and 9000",
    "out_of_range": "select * from lineitem where l_orderkey > 100000000",
    "customers": "select c_mktsegment, count(*), avg(c_acctbal) from customer group by c_mktsegment",
    "suppliers": "select n_name, count(*) from supplier join nation on s_nationkey = n_nationkey group by n_name",
    "parts": "select p_size, max(p_retailprice) from part where p_brand = 'Brand#23' group by p_size",
    "two_years": "select count(*) from orders where o_orderdate >= date '1997-01-01'",
    "cross": "select count(*) from supplier a, supplier b where a.s_acctbal < b.s_acctbal",
    "priorities": "select o_orderpriority, count(*) from orders group by o_orderpriority",
}


@dataclass(slots=True)
class Truth:
    """What a query really reads and gives."""

    rows_scanned: int
    rows_out: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="")
    parser.add_argument("--sf", default="1")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--agents", type=int, default=2)
    parser.add_argument("--only", choices=["estimates", "routes"])
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    print(machine_line())
    report: dict[str, Any] = {"machine": machine_line()}
    with folder(args.data, args.sf) as root:
        tables = {d.name: str(d / "*.parquet") for d in sorted(root.iterdir()) if d.is_dir()}
        queries = {p.stem: p.read_text() for p in QUERIES}
        if args.only != "routes":
            report["estimates"] = estimates(tables, queries)
            report["estimate_ms"] = cost(tables, queries)
        if args.only != "estimates":
            report["routes"] = routes(tables, queries | SMALL, args.repeats, args.agents)
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=1))
    return 0


@contextlib.contextmanager
def folder(data: str, sf: str) -> Iterator[Path]:
    """The folder with TPC-H's tables."""
    if data:
        yield Path(data)
        return
    with tempfile.TemporaryDirectory() as name:
        parts = str(max(2, round(float(sf) * 4)))
        command = ["tpchgen-cli", "parquet", "-s", sf, "--row-group-bytes=16MB", f"--parts={parts}", f"--output-dir={name}"]
        subprocess.run(command, check=True, capture_output=True)
        yield Path(name)


def truth_of(tables: dict[str, str], queries: dict[str, str]) -> dict[str, Truth]:
    """What DuckDB reads and gives for each query."""
    duck = duckdb.connect()
    per_group: dict[str, float] = {}
    for name, pattern in tables.items():
        duck.execute(f"CREATE VIEW \"{name}\" AS SELECT * FROM read_parquet('{pattern}')")
        footers = [pq.read_metadata(path) for path in sorted(Path(pattern).parent.glob("*.parquet"))]
        per_group[name] = sum(f.num_rows for f in footers) / sum(f.num_row_groups for f in footers)
    found = {}
    for label, sql in queries.items():
        profile = json.loads(duck.sql(f"EXPLAIN (ANALYZE, FORMAT json) {sql.strip().removesuffix(';')}").fetchall()[0][1])
        scanned = sum(scanned_rows(node, per_group) for root in profile["operator"] for node in walk(root))
        found[label] = Truth(round(scanned), len(duck.sql(sql).fetchall()))
    return found


def walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("children", ()):
        yield from walk(child)


def scanned_rows(node: dict[str, Any], per_group: dict[str, float]) -> float:
    """Rows of the row groups that a scan read; 0 for other operators."""
    files = str((node.get("extra_info") or {}).get("Filename(s)", ""))
    if node.get("type") != "TABLE_SCAN" or not files:
        return 0.0
    return float(node.get("row_groups_scanned") or 0) * per_group[Path(files.split(",")[0]).parent.name]


def q_error(estimated: float, true: float) -> float:
    estimated, true = max(estimated, 1.0), max(true, 1.0)
    return max(estimated / true, true / estimated)


def estimates(tables: dict[str, str], queries: dict[str, str]) -> dict[str, Any]:
    """q-errors by footers alone, by learnt statistics, and after each query ran."""
    truth = truth_of(tables, queries)
    stages: dict[str, dict[str, tuple[int, int]]] = {}
    with Catalog(tables) as catalog:
        stages["footers"] = {label: figures(catalog, sql) for label, sql in queries.items()}
        catalog.learn(catalog.tables())
        assert catalog.wait_learned(600)
        stages["statistics"] = {label: figures(catalog, sql) for label, sql in queries.items()}
    stages["history"] = after_history(tables, queries)
    print(f"\n{'':5} {'rows scanned':>32} | {'rows out':>41}")
    names = f"{'footers':>10} {'statistics':>10} {'history':>10}"
    print(f"{'':5} {'true':>10} {names.removeprefix('   footers ')} | {'true':>8} {names}")
    for label, true in truth.items():
        scanned, out = ([stage[label][place] for stage in stages.values()] for place in (0, 1))
        print(f"{label:5} {true.rows_scanned:10,} {scanned[1]:10,} {scanned[2]:10,} | {true.rows_out:8,}", end=" ")
        print(" ".join(f"{rows:10,}" for rows in out))
    print("\nq-error                        median       p90       max")
    summary: dict[str, Any] = {"true": {k: [t.rows_scanned, t.rows_out] for k, t in truth.items()}, "estimated": stages}
    for place, which in enumerate(("rows scanned", "rows out")):
        for stage, found in stages.items():
            errors = [q_error(found[k][place], (t.rows_scanned, t.rows_out)[place]) for k, t in truth.items()]
            three = statistics.median(errors), quantile(errors, 0.9), max(errors)
            print(f"{which:13} {stage:12} {three[0]:9.2f} {three[1]:9.2f} {three[2]:9.2f}")
            summary[f"{which}, {stage}"] = three
    return summary


def figures(catalog: Catalog, sql: str) -> tuple[int, int]:
    found = estimate(parse(sql), catalog.resolve)
    return found.rows_scanned, found.rows_out


def after_history(tables: dict[str, str], queries: dict[str, str]) -> dict[str, tuple[int, int]]:
    """The estimates once each query ran twice: the second run of a shape is the first that is counted."""
    with sabot_sql.connect("embedded:", data=tables, num_local_agents=0) as db:
        for sql in queries.values():
            for _ in range(2):
                db.execute_sql(sql, route="local").to_arrow()
        found = {label: db.explain(sql).estimate for label, sql in queries.items()}
    return {label: (e["rows_scanned"], e["rows_out"]) for label, e in found.items()}


def learn(tables: dict[str, str], state_dir: Path) -> None:
    """Leave learnt statistics where an engine with that state folder finds them."""
    begin = time.perf_counter()
    with Catalog(tables, statistics_file=state_dir / "statistics.db") as catalog:
        catalog.learn(catalog.tables())
        assert catalog.wait_learned(600)
    print(f"statistics learnt in {time.perf_counter() - begin:.1f} s")


def cost(tables: dict[str, str], queries: dict[str, str], repeats: int = 30) -> dict[str, float]:
    """Milliseconds from parse tree to estimate, for texts not seen before."""
    medians: list[float] = []
    small: list[float] = []
    with Catalog(tables) as catalog:
        catalog.learn(catalog.tables())
        assert catalog.wait_learned(600)
        for group, times in ((queries, medians), (SMALL, small)):
            for sql in group.values():
                statements = [parse(f"{sql.strip().removesuffix(';')} {' ' * n}") for n in range(repeats)]
                took = []
                for statement in statements:
                    assert statement.tree is not None
                    begin = time.perf_counter()
                    estimate(statement, catalog.resolve)
                    took.append((time.perf_counter() - begin) * 1e3)
                times.append(statistics.median(took))
    print("\nparse tree to estimate, the median of each query")
    for name, times in (("TPC-H", medians), ("small queries", small)):
        print(f"  {name:13} p50 {statistics.median(times):.3f} ms, max {max(times):.3f} ms")
    return {"tpch_p50": statistics.median(medians), "tpch_max": max(medians), "small_p50": statistics.median(small)}


def routes(tables: dict[str, str], queries: dict[str, str], repeats: int, agents: int) -> dict[str, Any]:
    """The route of each query, by statistics and after history, beside its time on both."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        learn(tables, Path(name))
        with sabot_sql.connect("embedded:", data=tables, num_local_agents=agents, state_dir=name) as db:
            db.execute_sql("select count(*) from region", route="distributed").to_arrow()
            time.sleep(1.0)  # calibration
            for sql in queries.values():  # what was learnt is read once it is asked for
                db.explain(sql)
            time.sleep(2.0)
            chosen = {label: db.explain(sql) for label, sql in queries.items()}
            for label, sql in queries.items():
                times = {route: best_ms(db, sql, route, repeats) for route in ("local", "distributed")}
                found[label] = {"route": chosen[label].route, "work": chosen[label].estimate["work"], **times}
            for label, sql in queries.items():
                found[label]["after"] = db.explain(sql).route
    print(f"\n{'':12} {'work':>14} {'local ms':>10} {'distr. ms':>10} {'faster':>12} {'auto':>12} {'after history':>14}")
    best = {label: min(row["local"], row["distributed"]) for label, row in found.items()}
    for label, row in found.items():
        faster = "local" if best[label] == row["local"] else "distributed"
        print(f"{label:12} {row['work']:14,} {row['local']:10.1f} {row['distributed']:10.1f}", end=" ")
        print(f"{faster:>12} {row['route']:>12} {row['after']:>14}")
    shares = {}
    for which, key in (("statistics", "route"), ("history", "after")):
        right = sum(row[row[key]] <= 1.1 * best[label] for label, row in found.items())
        times = sum(row[row[key]] for row in found.values()) / sum(best.values())
        shares[which] = right / len(found)
        share = f"{right} of {len(found)} ({right / len(found):.0%})"
        print(f"routed as the oracle, by {which}: {share}; all in {times:.2f} x its time")
    return {"queries": found, "shares": shares}


def best_ms(db: Any, sql: str, route: str, repeats: int) -> float:
    """The best time of a query on a route, after one run to warm it; infinite where the route cannot run it."""
    took = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        try:
            db.execute_sql(sql, route=route).to_arrow()
        except sabot_sql.NotSupported:
            return float("inf")
        took.append((time.perf_counter() - begin) * 1e3)
    return min(took[1:])


if __name__ == "__main__":
    sys.exit(main())
