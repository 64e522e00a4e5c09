"""Random SELECTs over random tables: the same answer on every route, or a refusal.

SABOT_RANDOM_QUERIES=5000 runs more of them, and SABOT_RANDOM_SEED=7 others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import sabot_sql
from sabot_sql.client.difference import difference
from tests.corpus.random_selects import Choices, Selects
from tests.corpus.random_tables import make_random_tables

SEED = int(os.environ.get("SABOT_RANDOM_SEED", "1"))
COUNT = int(os.environ.get("SABOT_RANDOM_QUERIES", "100"))
CHUNK = 25  # queries a test
MAX_TRIES = 200  # to make a failing query smaller

# What the grammar makes and the distributed route is known not to run.
REFUSED = ("TUPLE", "volatile", "correlated", "ANY with several columns")

# An expression has no value for some row.
DATA = ("INVALID_VALUE", "DIVISION_BY_ZERO")

# DuckDB fails on these itself, in its optimizer.
DUCKDB_BUG = "BindBuiltinScalarFunction"


@dataclass(frozen=True)
class Routes:
    """DuckDB alone, and the product over the same tables."""

    duckdb: duckdb.DuckDBPyConnection
    db: sabot_sql.Connection

    def answer(self, sql: str, optimizer: bool = True) -> pa.Table | duckdb.Error:
        """DuckDB's answer, or its error."""
        self.duckdb.execute(f"PRAGMA {'enable' if optimizer else 'disable'}_optimizer").fetchall()
        try:
            return self.duckdb.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            return error

    def complaint(self, choices: Choices, route: str) -> str:
        """What is wrong with the route's answer to the query that `choices` make; empty if nothing is."""
        sql, positions = Selects(choices).statement()
        want = self.answer(sql)
        try:
            got = self.db.execute_sql(sql, route=route, timeout_s=60).to_arrow()  # type: ignore[arg-type]
        except sabot_sql.NotSupported as error:
            return "" if any(word in str(error) for word in REFUSED) else f"refused: {error}\n{sql}"
        except sabot_sql.QueryError as error:
            # an expression that has no value for some row: SQL leaves open whether the row is looked at
            known = isinstance(want, duckdb.Error) or isinstance(self.answer(sql, optimizer=False), duckdb.Error)
            return "" if known or error.problem.code in DATA else f"{error.problem.code}: {error}\n{sql}"
        except sabot_sql.SabotError as error:
            return f"{type(error).__name__}: {error}\n{sql}"
        if isinstance(want, duckdb.Error):
            failed = isinstance(want, duckdb.ConversionException | duckdb.OutOfRangeException) or DUCKDB_BUG in str(want)
            return "" if failed or "ivision by zero" in str(want) else f"DuckDB fails: {want}\n{sql}"
        found = difference(_plain(want), _plain(got), positions)
        return f"{found}\n{sql}" if found else ""


def _plain(table: pa.Table) -> pa.Table:
    """`table` with moments as numbers: Python has no year before 1 or after 9999."""
    columns = [c.cast(pa.int64()) if pa.types.is_timestamp(t) else c for c, t in zip(table.columns, table.schema.types)]
    columns = [c.cast(pa.int32()) if pa.types.is_date(t) else c for c, t in zip(columns, table.schema.types)]
    names = [f"{n} {t}" for n, t in zip(table.schema.names, table.schema.types)]
    return pa.table(columns, names=names)


@pytest.fixture(scope="module", params=[2, 3])
def routes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routes]:
    tables = make_random_tables(tmp_path_factory.mktemp("random"), SEED * 10 + request.param)
    con = duckdb.connect(config={"threads": 1})
    for name, path in tables.items():
        con.execute(f"CREATE VIEW {name} AS SELECT * FROM '{Path(path) / '*.parquet'}'").fetchall()
    with sabot_sql.connect("embedded:", data=tables, num_local_agents=request.param) as db:
        yield Routes(con, db)
    con.close()


def smallest(taken: Sequence[int], fails: Callable[[Choices], str]) -> str:
    """The complaint about the smallest failing query found by leaving out choices and by making them 0."""
    best = list(taken)
    shown = fails(Choices(fixed=best))
    tries, step = 0, max(1, len(best) // 2)
    while step and tries < MAX_TRIES:
        at = 0
        while at < len(best) and tries < MAX_TRIES:
            for candidate in (best[:at] + best[at + step :], best[:at] + [0] * step + best[at + step :]):
                choices = Choices(fixed=candidate)
                tries += 1
                found = fails(choices) if candidate != best else ""
                if found and (len(choices.taken), sum(choices.taken)) < (len(best), sum(best)):
                    best, shown = choices.taken, found
                    break
            else:
                at += step
        step //= 2
    return shown


@pytest.mark.parametrize("route", ["distributed", "local"])
@pytest.mark.parametrize("chunk", range(0, COUNT, CHUNK))
def test_random_query_has_duckdbs_answer(routes: Routes, chunk: int, route: str) -> None:
    for number in range(chunk, min(chunk + CHUNK, COUNT)):
        choices = Choices(SEED * 1_000_000 + number)
        if routes.complaint(choices, route):
            pytest.fail(smallest(choices.taken, lambda c: routes.complaint(c, route)))


def test_value_without_result_is_an_error_of_the_query_and_not_of_the_file(routes: Routes) -> None:
    with pytest.raises(sabot_sql.QueryError, match="Overflow in negation"):
        routes.db.execute_sql("select - (k::usmallint + 1::usmallint) from big where k > 0", route="distributed", timeout_s=60)
