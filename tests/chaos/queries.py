"""Twelve queries of different shape over two tables that are large enough for each to take a second."""

from __future__ import annotations

from pathlib import Path

import duckdb

QUERIES = {
    "few groups": "SELECT s, count(*), sum(j), max(v) FROM facts WHERE v % 7 < 6 GROUP BY s ORDER BY s",
    "many groups": """SELECT k % 1000 a, sum(n), max(t) FROM (SELECT k, j % 4 g, count(*) n, sum(v) t FROM facts GROUP BY k, g)
        GROUP BY a""",
    "broadcast join": "SELECT f, count(*), sum(v) FROM facts JOIN (SELECT * FROM dims WHERE f < 40) USING (k) GROUP BY f",
    "partitioned join": "SELECT d.f, count(*), sum(a.v), max(d.text) FROM facts a JOIN dims d ON a.j = d.j GROUP BY d.f",
    "semi and anti join": """SELECT s, count(*), sum(v) FROM facts a WHERE EXISTS (FROM dims d WHERE d.k = a.k AND d.f < 30)
        AND NOT EXISTS (FROM dims d WHERE d.j = a.j AND d.f = 7) GROUP BY s""",
    "outer join": """SELECT f IS NULL u, count(*), sum(v) FROM facts LEFT JOIN (FROM dims WHERE f % 2 = 0) d USING (j)
        GROUP BY u""",
    "window": """SELECT sum(v), count(*), max(k)
        FROM (SELECT v, k, rank() OVER (PARTITION BY k ORDER BY v DESC) r FROM facts) WHERE r = 2""",
    "top rows": "SELECT k, j, v FROM facts WHERE j % 3 = 1 ORDER BY v DESC, k, j LIMIT 2000",
    "distinct": "SELECT s, count(DISTINCT k), count(DISTINCT j) FROM facts GROUP BY s",
    "union": """SELECT a, sum(b) FROM (SELECT k a, v b FROM facts UNION ALL SELECT j, f FROM dims) GROUP BY a
        ORDER BY sum(b) DESC, a LIMIT 100""",
    "rollup": "SELECT s, j % 10 b, count(*), sum(v) FROM facts GROUP BY ROLLUP (s, b)",
    "subqueries": """WITH g AS (SELECT k, avg(v) a, count(*) n FROM facts GROUP BY k)
        SELECT count(*), sum(x.n), max(y.a) FROM g x JOIN g y ON x.k = y.k + 1 WHERE x.a > (SELECT avg(a) FROM g)""",
}

FACTS = """SELECT (i * 7919) % 400009 AS k, (i * 104729) % 1000003 AS j, (i * 31 + i // 1000) % 100000 AS v, 's' || i % 23 AS s
    FROM range({0}, {1}) t(i)"""
DIMS = "SELECT i % 400009 AS k, i AS j, i % 97 AS f, 'text ' || i AS text FROM range(1000003) t(i)"
FILES = 12


def make(folder: Path, rows: int) -> None:
    """The tables as Parquet files, unless they are there."""
    done = folder / f"{rows}.done"
    if done.exists():
        return
    with duckdb.connect() as con:
        for name in ("facts", "dims"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(FILES):
            con.sql(FACTS.format(i * rows // FILES, (i + 1) * rows // FILES)).write_parquet(str(folder / f"facts/{i}.parquet"))
        con.sql(DIMS).write_parquet(str(folder / "dims/0.parquet"))
    done.touch()
