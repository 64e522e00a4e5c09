"""DuckDB as the binder: names resolved, types fixed, subqueries decorrelated, against an empty copy of the catalog."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import duckdb

from sabot_sql.catalog.table import Table, spellings
from sabot_sql.errors import InternalError, NotSupported, SabotError
from sabot_sql.planner import logical as lg
from sabot_sql.planner.decode import decode_plan
from sabot_sql.planner.duckdb_errors import Told, translate
from sabot_sql.planner.physical import Session
from sabot_sql.types import Field, Schema, SqlType, parse_type, quote_identifier

# The optimizers whose work we want. The others break the serialisation or bake in that the planning tables are empty.
KEPT_OPTIMIZERS = frozenset(
    """expression_rewriter filter_pullup filter_pushdown cte_filter_pusher deliminator unnest_rewriter cte_inlining
    join_order outer_join_simplification top_n common_aggregate""".split()
)

MAX_PLAN_BYTES = 16 << 20
IDLE_CURSORS = 4  # by time zone
TRIES = 3  # before the planning database is kept from others

T = TypeVar("T")

EXPLAIN = "EXPLAIN\n"
PREPARE = "PREPARE {name} AS SELECT json_serialize_plan($1::VARCHAR, skip_default := false, optimize := {optimize})"


@dataclass(frozen=True, slots=True)
class BoundQuery:
    """A bound statement: its plan, and the names and types of its result."""

    plan: lg.Plan
    schema: Schema


@functools.lru_cache(maxsize=1)
def default_timezone() -> str:
    """The time zone DuckDB takes when none is set: this machine's."""
    with duckdb.connect() as con:
        return str(con.sql("SELECT current_setting('TimeZone')").fetchall()[0][0])


class Binder:
    """Binds statements against empty native tables that mirror the catalog's. Thread-safe: each binding borrows a cursor that
    is set to its time zone and has the call that hands out plans prepared."""

    def __init__(self) -> None:
        self._con = duckdb.connect(
            config={
                "memory_limit": "256MB",
                "threads": 1,
                "enable_external_access": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "python_enable_replacements": "false",
            }
        )
        names = [row[0] for row in self._con.sql("SELECT name FROM duckdb_optimizers()").fetchall()]
        disabled = ",".join(n for n in names if n not in KEPT_OPTIMIZERS)
        self._con.execute(f"SET disabled_optimizers = '{disabled}'").fetchall()
        self._versions: dict[str, int] = {}
        self._lock = threading.RLock()
        self._changes = 0  # of tables that stood there already
        self._idle: dict[str, list[duckdb.DuckDBPyConnection]] = defaultdict(list)

    def bind(
        self,
        sql: str,
        tables: Iterable[Table],
        lookup: Callable[[str], Table],
        session: Session,
        asked: tuple[str, dict[str, Any]] | None = None,
    ) -> BoundQuery:
        """The bound plan of one SELECT without parameters.

        Args:
            tables: the catalog's tables that the statement may name.
            lookup: the catalog's table by name.
            asked: the text as the user wrote it and its parameters, where `sql` has constants in their place; the names of
                the result are its names.

        Raises:
            PlanError: the statement does not bind; position and hint are set.
            NotSupported: its plan holds what is not distributed yet.
        """
        written, tables = asked or (sql, None), tuple(tables)

        def serialized() -> tuple[Schema, dict[str, Any]]:
            with self._cursor(session, *written) as cursor:
                schema = _described(cursor, *written)
                text = self._serialize(cursor, sql, "optimized")
                if text["error"]:
                    text = self._serialize(cursor, sql, "bound")
                # what is several statements, such as PIVOT without IN, reads the data first, which is not here
                if text["error"] and "type MULTI" not in text["error_message"]:
                    cursor.execute(EXPLAIN + written[0], written[1])  # raises where DuckDB itself does not run it
                return schema, text

        schema, text = self._of_one_version(tables, serialized)
        if text["error"]:
            message = str(text["error_message"])
            if "type MULTI" in message:
                raise NotSupported("a PIVOT whose columns come from the data cannot run distributed yet")
            if "inequal num bindings/types" in message and "ordinality" in sql.lower():
                raise NotSupported("WITH ORDINALITY of a table function of constants cannot run distributed yet")
            raise NotSupported(f"DuckDB cannot hand over the plan of this statement: {message}")
        if len(text["plans"]) != 1:
            raise InternalError(f"expected one plan, found {len(text['plans'])}")
        known = {table.name: table for table in tables}

        def of_this_query(name: str) -> Table:
            return known.get(name) or lookup(name)

        return BoundQuery(decode_plan(text["plans"][0], of_this_query, session, "rowid" in sql.lower()), schema)

    def describe(self, sql: str, params: dict[str, Any] | None, tables: Iterable[Table], session: Session) -> Schema:
        """The columns of a statement's result, as far as binding alone tells them.

        Args:
            params: the values of its parameters; None where it has none.

        Raises:
            PlanError: the statement does not bind; position and hint are set.
        """
        tables = tuple(tables)

        def described() -> Schema:
            with self._cursor(session, sql, params) as cursor:
                return _described(cursor, sql, params)

        return self._of_one_version(tables, described)

    def _of_one_version(self, tables: tuple[Table, ...], ask: Callable[[], T]) -> T:
        """What `ask` gives while all `tables` stand in the planning database as they are given: other queries may put other
        versions there meanwhile."""
        for _ in range(TRIES):
            with self._lock:
                self._show(tables)
                changes = self._changes
            try:
                found = ask()
            except SabotError:
                if self._changes == changes:
                    raise
            else:
                if self._changes == changes:
                    return found
        with self._lock:
            self._show(tables)
            return ask()

    def _show(self, tables: Iterable[Table]) -> None:
        for table in tables:
            self._mirror(table)

    @contextlib.contextmanager
    def _cursor(self, session: Session, sql: str, params: dict[str, Any] | None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor; DuckDB's errors inside are those of `sql`, and end it."""
        cursor = None
        try:
            cursor = self._borrow(session.timezone)
            yield cursor
        except BaseException as error:
            found = error
            if isinstance(error, duckdb.Error):
                found = translate(error, sql) if cursor is None else _placed(cursor, error, sql, params)
            if cursor is not None:
                cursor.close()
            if found is error:
                raise
            raise found from error
        self._give_back(cursor, session.timezone)

    def _borrow(self, timezone: str) -> duckdb.DuckDBPyConnection:
        with self._lock:
            if idle := self._idle.get(timezone):
                return idle.pop()
            cursor = self._con.cursor()
        quoted = timezone.replace("'", "''")
        cursor.execute(f"SET TimeZone = '{quoted}'").fetchall()
        cursor.execute(PREPARE.format(name="optimized", optimize="true")).fetchall()
        cursor.execute(PREPARE.format(name="bound", optimize="false")).fetchall()
        return cursor

    def _give_back(self, cursor: duckdb.DuckDBPyConnection, timezone: str) -> None:
        with self._lock:
            idle = self._idle[timezone]
            if len(idle) < IDLE_CURSORS:
                idle.append(cursor)
                return
        cursor.close()

    def _serialize(self, cursor: duckdb.DuckDBPyConnection, sql: str, prepared: str) -> dict[str, Any]:
        text = cursor.execute(f"EXECUTE {prepared}('" + sql.replace("'", "''") + "')").fetchall()[0][0]
        if not text:
            return {"error": True, "error_message": "it has a constant of type BIT or BIGNUM (a number of more than 38 digits)"}
        if len(text) > MAX_PLAN_BYTES:
            raise NotSupported(f"the plan of this statement has {len(text):,} bytes, more than {MAX_PLAN_BYTES:,}")
        return read_json(text)

    def _mirror(self, table: Table) -> None:
        """Make or renew the empty table that stands for `table`."""
        if self._versions.get(table.name) == table.version:
            return
        self._changes += table.name in self._versions
        # a column of nothing but NULLs has no type that a table could have; reading it is refused later
        types = ("INTEGER" if f.type.id == "NULL" else str(f.type) for f in table.schema)
        columns = ", ".join(f"{quote_identifier(f.name)} {t}" for f, t in zip(table.schema, types))
        for target in spellings(table.name):
            if len(target) > 1:
                self._con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(target[0])}").fetchall()
            try:
                self._con.execute(f"CREATE OR REPLACE TABLE {'.'.join(map(quote_identifier, target))} ({columns})").fetchall()
            except (duckdb.CatalogException, duckdb.ParserException) as error:
                raise NotSupported(f"table {table.name} has a column of a type that no statement can write") from error
        self._versions[table.name] = table.version

    def close(self) -> None:
        """Free the planning database."""
        self._con.close()


def _placed(cursor: duckdb.DuckDBPyConnection, error: duckdb.Error, sql: str, params: dict[str, Any] | None) -> SabotError:
    """The `error` of binding `sql` with its place in it: DuckDB tells the place where it runs a text, not where it binds it."""
    found = translate(error, sql)
    if found.position is None:
        try:
            cursor.execute(EXPLAIN + sql, params)
        except type(error) as again:
            if (at := Told(str(again), EXPLAIN + sql).position) is not None:
                found.position = replace(at, line=at.line - 1, offset=at.offset - len(EXPLAIN))
        except duckdb.Error:
            pass  # not what was to be placed
    return found


def _described(cursor: Any, sql: str, params: dict[str, Any] | None) -> Schema:
    """The columns of a SELECT's result."""
    if params is None:
        names, types, *_ = cursor._bind(sql, with_writes=True)  # not public: what `sql` ends in
    else:
        relation = cursor.sql(sql, params=params)
        names, types = relation.columns, relation.types
    return tuple(Field(n, result_type(str(t))) for n, t in zip(names, types))


def result_type(text: str) -> SqlType:
    """The type of a result column."""
    try:
        return parse_type(text)
    except ValueError:  # a type that an extension brought
        return SqlType(text)


# A string, kept as it is, or a number that JSON has no form for.
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|(-?)\b(nan|inf(?:inity)?)\b', re.IGNORECASE)


def read_json(text: str) -> dict[str, Any]:
    """DuckDB's JSON, in which doubles may be NAN or INFINITY."""
    try:
        found: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError:
        try:
            found = json.loads(TOKENS.sub(_python_number, text))
        except json.JSONDecodeError as error:
            raise NotSupported("DuckDB cannot hand over the plan of this statement") from error
    return found


def _python_number(token: re.Match[str]) -> str:
    if token[2] is None:
        return token[0]
    return "NaN" if token[2].lower() == "nan" else f"{token[1]}Infinity"
