"""What becomes of a random query: DuckDB alone and the product over the same tables, and the verdict on its answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

import sabot_sql
from bench.answers import same_answer
from tests.corpus.random_queries import Queries
from tests.corpus.random_selects import Choices
from tests.corpus.random_tables import make_random_tables

MAX_TRIES = 250  # to make a failing query smaller

# What the grammar makes and the distributed route is known not to run.
REFUSED = (
    "may make values of any size",
    "type TIME WITH TIME ZONE",
    "type BIT",
    "WITH ORDINALITY of a table function of constants",
)

# An expression has no value for some row.
DATA = ("INVALID_VALUE", "DIVISION_BY_ZERO")
DATA_ERRORS = (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException)

# DuckDB fails on these itself, in its optimizer or by an assertion of its own.
DUCKDB_BUG = "BindBuiltinScalarFunction"
BROKEN = (duckdb.InternalException, duckdb.FatalException)

# Joins of joins may have more rows than are worth a comparison: what DuckDB itself does not do within these is not asked.
MOST_S, MOST_MEMORY = 10, "2GB"
TOO_LARGE = (duckdb.InterruptException, duckdb.OutOfMemoryException)
TIMEOUT_S = 180

Outcome = Literal["same", "refused", "error", "skipped", "different", "newly refused", "failed"]
BAD: tuple[Outcome, ...] = ("different", "newly refused", "failed")


@dataclass(frozen=True)
class Verdict:
    """How the product's answer compares.

    Attributes:
        outcome: `same`; `refused` by name, as is known; `error`, where some row has no value; `skipped`, too large for DuckDB
            alone; `different`; `newly refused`, where the grammar makes only what runs; `failed`, with an error that DuckDB
            does not have.
        complaint: what is wrong, and the query; empty if nothing is.
    """

    outcome: Outcome
    complaint: str = ""


class Routes:
    """DuckDB alone, and the product over the same tables."""

    def __init__(self, tables: dict[str, str], db: sabot_sql.Connection) -> None:
        self.tables = tables
        self.db = db
        self.duckdb = self._opened()

    def _opened(self) -> duckdb.DuckDBPyConnection:
        con = duckdb.connect(config={"threads": 1, "memory_limit": MOST_MEMORY})
        for name, path in self.tables.items():
            con.execute(f"CREATE VIEW {name} AS SELECT * FROM '{Path(path) / '*.parquet'}'").fetchall()
        return con

    def answer(self, sql: str, optimizer: bool = True) -> pa.Table | duckdb.Error:
        """DuckDB's answer, or its error."""
        self.duckdb.execute(f"PRAGMA {'enable' if optimizer else 'disable'}_optimizer").fetchall()
        timer = threading.Timer(MOST_S, self.duckdb.interrupt)
        timer.start()
        try:
            return self.duckdb.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            if isinstance(error, BROKEN):  # the database takes no further work
                self.duckdb.close()
                self.duckdb = self._opened()
            return error
        finally:
            timer.cancel()

    def verdict(self, choices: Choices, route: str) -> Verdict:
        """What becomes of the query that `choices` make."""
        sql, positions = Queries(choices).statement()
        want = self.answer(sql)
        if isinstance(want, TOO_LARGE):
            return Verdict("skipped")
        try:
            got = self.db.execute_sql(sql, route=route, timeout_s=TIMEOUT_S).to_arrow()  # type: ignore[arg-type]
        except sabot_sql.NotSupported as error:
            known = any(word in str(error) for word in REFUSED)
            return Verdict("refused") if known else Verdict("newly refused", f"refused: {error}\n{sql}")
        except sabot_sql.QueryError as error:
            # an expression that has no value for some row: SQL leaves open whether the row is looked at
            known = isinstance(want, duckdb.Error) and not _is_unbound(want)
            if known or error.problem.code in DATA or isinstance(self.answer(sql, optimizer=False), duckdb.Error):
                return Verdict("error")
            return Verdict("failed", f"{error.problem.code}: {error}\n{sql}")
        except sabot_sql.SabotError as error:
            return Verdict("failed", f"{type(error).__name__}: {error}\n{sql}")
        if isinstance(want, duckdb.Error):
            if isinstance(want, (*DATA_ERRORS, *BROKEN)) or DUCKDB_BUG in str(want):
                return Verdict("error")
            return Verdict("failed", f"DuckDB fails: {want}\n{sql}")
        found = same_answer(_plain(want), _plain(got), positions)
        return Verdict("different", f"{found}\n{sql}") if found else Verdict("same")


def _is_unbound(error: duckdb.Error) -> bool:
    """Whether the query itself is none: then the grammar is wrong."""
    return isinstance(error, duckdb.BinderException | duckdb.ParserException | duckdb.CatalogException)


def _plain(table: pa.Table) -> pa.Table:
    """`table` with moments as numbers: Python has no year before 1 or after 9999."""
    columns = [c if _number(c.type) == c.type else c.cast(_number(c.type)) for c in table.columns]
    names = [f"{n} {t}" for n, t in zip(table.schema.names, table.schema.types)]
    return pa.table(columns, names=names)


def _number(t: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(t):
        return pa.int64()
    if pa.types.is_date(t):
        return pa.int32()
    if pa.types.is_list(t):
        return pa.list_(_number(t.value_type))
    return t


@contextmanager
def open_routes(folder: Path, seed: int, agents: int) -> Iterator[Routes]:
    """Random tables below `folder`, and both ways to ask about them."""
    tables = make_random_tables(folder, seed, more=True)
    with sabot_sql.connect("embedded:", data=tables, num_local_agents=agents) as db:
        routes = Routes(tables, db)
        try:
            yield routes
        finally:
            routes.duckdb.close()


def smallest(taken: Sequence[int], judge: Callable[[Choices], Verdict]) -> Verdict:
    """The verdict on the smallest query of the same bad outcome, found by leaving out choices and by making them 0."""
    best = list(taken)
    shown = judge(Choices(fixed=best))
    tries, step = 0, max(1, len(best) // 2)
    while step and tries < MAX_TRIES:
        at = 0
        while at < len(best) and tries < MAX_TRIES:
            for candidate in (best[:at] + best[at + step :], best[:at] + [0] * step + best[at + step :]):
                choices = Choices(fixed=candidate)
                if candidate == best:
                    continue
                tries += 1
                found = judge(choices)
                if found.outcome == shown.outcome and (len(choices.taken), sum(choices.taken)) < (len(best), sum(best)):
                    best, shown = choices.taken, found
                    break
            else:
                at += step
        step //= 2
    return shown
