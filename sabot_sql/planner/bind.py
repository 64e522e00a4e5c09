"""DuckDB as the binder: names resolved, types fixed, subqueries decorrelated, against an empty copy of the catalog."""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import duckdb

from sabot_sql.catalog.table import Table
from sabot_sql.errors import InternalError, NotSupported
from sabot_sql.planner import logical as lg
from sabot_sql.planner.decode import decode_plan
from sabot_sql.planner.duckdb_errors import translate
from sabot_sql.planner.physical import Session
from sabot_sql.types import Field, Schema, SqlType, parse_type, quote_identifier

# The optimizers whose work we want. The others break the serialisation or bake in that the planning tables are empty.
KEPT_OPTIMIZERS = frozenset(
    """expression_rewriter filter_pullup filter_pushdown cte_filter_pusher deliminator unnest_rewriter cte_inlining
    join_order outer_join_simplification top_n common_aggregate""".split()
)

MAX_PLAN_BYTES = 16 << 20


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
    """Binds statements against empty native tables that mirror the catalog's. Thread-safe."""

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
        self._lock = threading.Lock()

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
        with self._lock:
            for table in tables:
                self._mirror(table)
            cursor = self._con.cursor()
        try:
            zone = session.timezone.replace("'", "''")
            cursor.execute(f"SET TimeZone = '{zone}'").fetchall()
            relation = cursor.sql(sql) if asked is None else cursor.sql(asked[0], params=asked[1])
            schema = tuple(Field(n, result_type(str(t))) for n, t in zip(relation.columns, relation.types))
            text = self._serialize(cursor, sql, optimize=True)
            if text["error"]:
                text = self._serialize(cursor, sql, optimize=False)
        except duckdb.Error as error:
            raise translate(error, sql) from error
        finally:
            cursor.close()
        if text["error"]:
            raise NotSupported(f"DuckDB cannot hand over the plan of this statement: {text['error_message']}")
        if len(text["plans"]) != 1:
            raise InternalError(f"expected one plan, found {len(text['plans'])}")
        return BoundQuery(decode_plan(text["plans"][0], lookup, session), schema)

    def _serialize(self, cursor: Any, sql: str, optimize: bool) -> dict[str, Any]:
        query = f"SELECT json_serialize_plan($sql, skip_default := false, optimize := {str(optimize).lower()})"
        text = cursor.sql(query, params={"sql": sql}).fetchall()[0][0]
        if len(text) > MAX_PLAN_BYTES:
            raise NotSupported(f"the plan of this statement has {len(text):,} bytes, more than {MAX_PLAN_BYTES:,}")
        return read_json(text)

    def _mirror(self, table: Table) -> None:
        """Make or renew the empty table that stands for `table`."""
        if self._versions.get(table.name) == table.version:
            return
        schema, _, name = table.name.rpartition(".")
        target = ".".join(quote_identifier(p) for p in (schema, name) if p)
        # a column of nothing but NULLs has no type that a table could have; reading it is refused later
        types = ("INTEGER" if f.type.id == "NULL" else str(f.type) for f in table.schema)
        columns = ", ".join(f"{quote_identifier(f.name)} {t}" for f, t in zip(table.schema, types))
        if schema:
            self._con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(schema)}").fetchall()
        self._con.execute(f"CREATE OR REPLACE TABLE {target} ({columns})").fetchall()
        self._versions[table.name] = table.version

    def close(self) -> None:
        """Free the planning database."""
        self._con.close()


def result_type(text: str) -> SqlType:
    """The type of a result column; DuckDB writes the type of one that is only NULL in quotes."""
    try:
        return parse_type(text.strip('"'))
    except ValueError:  # a type that an extension brought
        return SqlType(text)


# A string, kept as it is, or a number that JSON has no form for.
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|(-?)\b(nan|inf(?:inity)?)\b', re.IGNORECASE)


def read_json(text: str) -> dict[str, Any]:
    """DuckDB's JSON, in which doubles may be NAN or INFINITY."""
    try:
        found: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError:
        found = json.loads(TOKENS.sub(_python_number, text))
    return found


def _python_number(token: re.Match[str]) -> str:
    if token[2] is None:
        return token[0]
    return "NaN" if token[2].lower() == "nan" else f"{token[1]}Infinity"
