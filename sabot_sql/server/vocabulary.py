"""The functions and keywords that a reader's statement may have, for completion."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import duckdb

from sabot_sql.planner.policy import DENIED_FUNCTIONS, DENIED_PATTERN, TABLE_FUNCTIONS

NAME = re.compile(r"[a-z][a-z0-9_]*")

FUNCTIONS = """
    SELECT
        function_name, function_type, arg_max(parameters, len(parameters)),
        if(count(DISTINCT return_type) = 1, any_value(return_type), NULL), any_value(description)
    FROM duckdb_functions() WHERE function_type IN ('scalar', 'aggregate', 'macro', 'table') AND schema_name = 'main'
    GROUP BY ALL ORDER BY ALL
"""

BEGINNINGS = "select with from values explain describe summarize show pivot unpivot table".split()

AFTER_TABLE = """join left right full inner outer cross natural asof positional semi anti lateral as on using where group order
    having qualify window limit offset union intersect except tablesample""".split()

IN_EXPRESSION = """select distinct all from as and or not in is null like ilike similar between case when then else end
    cast try_cast exists interval date timestamp time true false over partition by rows range groups
    unbounded preceding following current row filter within order asc desc nulls first last exclude
    replace columns union intersect except where group having qualify limit offset window using sample
    grouping sets rollup cube recursive materialized collate escape array struct map""".split()


@dataclass(frozen=True, slots=True)
class Function:
    """A function: its name, its kind (scalar, aggregate, macro, table), how it is called, and what it does."""

    name: str
    kind: str
    call: str
    description: str | None


@functools.cache
def functions() -> tuple[Function, ...]:
    """The functions that a reader may call, by name; those of FROM have the kind `table`."""
    with duckdb.connect() as con:
        rows = con.execute(FUNCTIONS).fetchall()
    found: dict[tuple[str, bool], Function] = {}
    for name, kind, parameters, returns, description in rows:
        in_from = kind == "table"
        allowed = name in TABLE_FUNCTIONS if in_from else name not in DENIED_FUNCTIONS and not DENIED_PATTERN.match(name)
        if allowed and NAME.fullmatch(name):
            call = f"{name}({', '.join(parameters or ())})" + (f" -> {returns}" if returns else "")
            found.setdefault((name, in_from), Function(name, kind, call, description))
    return tuple(found.values())


@functools.cache
def reserved_words() -> frozenset[str]:
    """Words that are no names unless they are quoted."""
    with duckdb.connect() as con:
        rows = con.execute("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'").fetchall()
    return frozenset(row[0] for row in rows)
