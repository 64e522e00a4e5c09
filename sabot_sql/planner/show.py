"""Statements about the catalog that DuckDB has no form for, written as the queries they stand for; and where settings are."""

from __future__ import annotations

import difflib

from sabot_sql.planner.parse_nodes import TableRef
from sabot_sql.planner.sql_position import tokens

STATE_TABLES = frozenset(("queries", "agents"))
"""Tables of the schema `system`: what the engine is doing."""

STATE_PREFIX = "__system_"
"""What they are called in the text that DuckDB gets."""

CATALOGS = "SELECT DISTINCT {} AS name FROM information_schema.schemata WHERE catalog_name NOT IN ('system', 'temp') ORDER BY 1"

LISTS = {
    "catalogs": CATALOGS.format("catalog_name"),
    "databases": CATALOGS.format("catalog_name"),
    "schemas": CATALOGS.format("schema_name"),
}

ALL_TABLES = (
    "SELECT table_catalog AS database, table_schema AS schema, table_name AS name,"
    " list(column_name ORDER BY ordinal_position) AS column_names, list(data_type ORDER BY ordinal_position) AS column_types"
    " FROM information_schema.columns GROUP BY ALL ORDER BY ALL"
)

SETTINGS = {
    "timezone": "give timezone with the query: execute_sql(sql, timezone=...), or the field timezone of POST /v1/sql",
    "time zone": "give timezone with the query: execute_sql(sql, timezone=...), or the field timezone of POST /v1/sql",
    "threads": "connect(threads=...) or the setting local.threads sets the threads of the local engine",
    "worker_threads": "connect(threads=...) or the setting local.threads sets the threads of the local engine",
    "memory_limit": "the setting local.memory_bytes limits the local engine, agents.memory_bytes an agent",
    "max_memory": "the setting local.memory_bytes limits the local engine, agents.memory_bytes an agent",
    "statement_timeout": "give timeout_s with the query",
    "schema": "there is one schema, main; tables of a DuckDB file are written schema.table",
    "search_path": "there is one schema, main; tables of a DuckDB file are written schema.table",
}
"""What a reader who would SET a name is to do instead."""


def query_for_show(sql: str) -> str | None:
    """The query that a SHOW stands for, where DuckDB has no such SHOW or lists more than the catalog; None elsewhere.

    Example:
        >>> query_for_show("show columns from t"), query_for_show("show tables"), query_for_show("describe") == ALL_TABLES
        ('DESCRIBE t', None, True)
    """
    if not sql[:64].lstrip().upper().startswith(("SHOW", "DESC")):
        return None
    found = list(tokens(sql))
    words = [text.lower() for _, text in found]
    if words in (["describe"], ["desc"]):
        return ALL_TABLES
    if words[:1] != ["show"]:
        return None
    if words[1:] in ([], ["__show_tables_expanded"]):
        return None if words[1:] else ALL_TABLES
    if len(words) == 2 and words[1] in LISTS:
        return LISTS[words[1]]
    if words[1:] == ["all", "tables"]:
        return ALL_TABLES
    if len(words) > 3 and words[1] == "columns" and words[2] in ("from", "in"):
        return f"DESCRIBE {sql[found[3][0] :]}"
    return None


def hint_for_set(sql: str) -> str:
    """What to do instead of SET, RESET or USE, with the option's name."""
    words = [text for _, text in tokens(sql)][:4]
    kind = words[0].upper() if words else "SET"
    if kind == "USE":
        return SETTINGS["schema"]
    rest = [w for w in words[1:] if w.upper() not in ("GLOBAL", "LOCAL", "SESSION")]
    zone = [w.lower() for w in rest[:2]] == ["time", "zone"]
    name = "time zone" if zone else (rest[:1] or [""])[0].strip(chr(34)).lower()
    if name in SETTINGS:
        return f"{name}: {SETTINGS[name]}"
    near = difflib.get_close_matches(name, SETTINGS, n=1)
    if near:
        return f'"{name}" is not set here; for {near[0]}: {SETTINGS[near[0]]}'
    where = "settings are those of connect(), `sabot-sql serve` and the request"
    return f"{name or 'options'}: {where}; `sabot-sql config show` lists them"


def with_state_tables(sql: str, references: tuple[TableRef, ...]) -> str | None:
    """The text with `system.queries` as one name, as DuckDB has a catalog called system; None where it names no such table."""
    places = [r.offset for r in references if is_state_table(r.parts) and len(r.parts) == 2 and r.offset >= 0]
    if not places or not sql.isascii():
        return None
    found = list(tokens(sql))
    for at in sorted(set(places), reverse=True):
        first = next((i for i, (offset, _) in enumerate(found) if offset == at), None)
        if first is None or first + 2 >= len(found):
            return None
        offset, text = found[first + 2]
        name = text.strip('"').lower()
        after = found[first + 3][1].lower() if first + 3 < len(found) else ""
        named = after == "as" or (after[:1].isalpha() and after not in FOLLOWING) or after[:1] == '"'
        sql = f"{sql[:at]}{STATE_PREFIX}{name}{'' if named else f' AS {name}'}{sql[offset + len(text) :]}"
    return sql


FOLLOWING = frozenset(
    """where group order limit having join inner left right full cross natural asof positional semi anti on using union
    except intersect window qualify offset tablesample sample pivot unpivot""".split()
)
"""Words that may stand after a table that has no alias."""


def is_state_table(parts: tuple[str, ...]) -> bool:
    """Whether `parts` name a table of the schema `system`."""
    name = parts[-1].lower()
    if len(parts) == 1:
        return name.startswith(STATE_PREFIX) and name.removeprefix(STATE_PREFIX) in STATE_TABLES
    return len(parts) == 2 and parts[0].lower() == "system" and name in STATE_TABLES
