"""What a reader may run: an allow-list over DuckDB's own parse tree, and over sqlglot's where there is one and the statement
is not plain (`planner.plain`, a much shorter list).

Allowed are queries over tables of the catalog (one to three name parts, never a path), the table functions listed here,
and scalar functions that neither read files or settings nor write. What the lists do not name is refused: a node that a
later DuckDB adds is no query until it stands here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from sqlglot import exp

from sabot_sql.catalog.database_views import ATTACHED_AS
from sabot_sql.catalog.table import Table
from sabot_sql.errors import NotSupported, PlanError, QueryError
from sabot_sql.planner.parse import Statement
from sabot_sql.planner.parse_nodes import NOWHERE, Node, TableRef, walk
from sabot_sql.planner.plain import is_plain
from sabot_sql.planner.show import hint_for_set
from sabot_sql.planner.sql_position import find_name, position_at_byte, tokens

__all__ = ["check", "is_system_table", "refusal"]

Resolve = Callable[[tuple[str, ...]], Table]

WRITES = frozenset("INSERT UPDATE DELETE MERGE_INTO CREATE DROP ALTER CREATE_FUNC TRUNCATE".split())

QUERY_NODES = frozenset(
    """SELECT_NODE SET_OPERATION_NODE RECURSIVE_CTE_NODE CTE_NODE
    BASE_TABLE SUBQUERY JOIN TABLE_FUNCTION EXPRESSION_LIST EMPTY PIVOT SHOW_REF
    LIMIT_MODIFIER LIMIT_PERCENT_MODIFIER ORDER_MODIFIER DISTINCT_MODIFIER
    ORDER_DEFAULT ORDER_ASCENDING ORDER_DESCENDING ASCENDING DESCENDING""".split()
)

EXPRESSIONS = frozenset(
    """BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT DEFAULT FUNCTION LAMBDA LAMBDA_REF OPERATOR
    PARAMETER POSITIONAL_REFERENCE STAR SUBQUERY TYPE WINDOW""".split()
)

TABLE_FUNCTIONS = frozenset(
    """range generate_series unnest repeat repeat_row json_each json_tree test_all_types pg_timezone_names
    regexp_split_to_table generate_subscripts icu_calendar_names""".split()
)

DENIED_FUNCTIONS = frozenset(
    """getenv current_setting getvariable nextval currval write_log sleep_ms pg_sleep query query_table
    json_serialize_plan json_execute_serialized_sql from_substrait from_substrait_json get_substrait get_substrait_json
    pg_get_viewdef pg_get_expr pg_get_constraintdef inet_client_addr inet_client_port inet_server_addr inet_server_port
    get_block_size index_key to_aggregate_state variant_bytes_to_variant variant_to_parquet_variant
    set_config pg_read_file pg_read_binary_file pg_ls_dir lo_import lo_export dblink http_get http_post""".split()
)

DENIED_PATTERN = re.compile(
    r"^(?:__internal|read_|write_|parquet_|sniff_|scan_|glob$|duckdb_|pragma_|arrow_scan|pandas_scan|python_|seq_scan|which_secret"
    r"|iceberg_|delta_|postgres_|sqlite_|mysql_|.*_scan$|.*_attach$|load_|copy_|import_|export_|enable_|disable_|st_read)"
)

SHOWN = frozenset(("tables",))

SYSTEM_TABLES = frozenset(("tables", "columns", "schemata"))
"""Views of `information_schema` that may be read; they show the catalog's tables."""

PATH = re.compile(
    r"[/\\*?\[]|^~|^\w+:|\.(?:csv|tsv|txt|json|jsonl|ndjson|parquet|arrow|arrows|ipc|feather|db|ddb|duckdb|sqlite|xlsx?|log|conf|sql|avro|orc"
    r"|vortex|lance)(?:\.\w+)?$",
    re.IGNORECASE,
)

FILES_HINT = (
    "name the file or its folder as data, then it is a table: connect(data=...) or db.register(...) in Python, --data on the "
    "command line, \\copy TABLE from FILE in the shell"
)


COPY_HINT = "run the query itself: query --format parquet -o FILE, or \\copy (QUERY) to FILE in the shell, writes its answer"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a statement is not run. `place` is offset and length in bytes of the statement, None where unknown; `name` is
    looked for then."""

    code: str
    detail: str
    hint: str | None = None
    place: tuple[int, int] | None = None
    name: str = ""

    def error(self, sql: str) -> QueryError:
        """The error to raise; a new one each time, as tracebacks stick to errors."""
        position = position_at_byte(sql, *self.place) if self.place else None
        if position is None and self.name:
            position = find_name(sql, self.name)
        cls = NotSupported if self.code == "NOT_SUPPORTED" else PlanError
        return cls(self.detail, code=self.code, hint=self.hint, position=position, sql=sql)


def check(statement: Statement, resolve: Resolve) -> tuple[Table, ...]:
    """The tables that `statement` reads, when a reader may run it.

    Args:
        resolve: the catalog's table for name parts; raises UNDEFINED_TABLE for what is none.

    Raises:
        PlanError: READ_ONLY, PERMISSION_DENIED or UNDEFINED_TABLE, naming the construct and its position.
    """
    if (found := refusal(statement.like or statement)) is not None:
        raise (found if statement.like is None else refusal(statement.itself) or found).error(statement.sql)
    tables: dict[str, Table] = {}
    for reference in statement.references:
        try:
            table = resolve(reference.parts)
        except PlanError as error:
            if is_system_table(reference.parts):
                continue
            if statement.like is not None:  # its own places
                return check(statement.itself, resolve)
            raise _unknown(statement, reference, error) from error
        tables[table.name] = table
    return tuple(tables.values())


def _unknown(statement: Statement, reference: TableRef, error: PlanError) -> QueryError:
    """UNDEFINED_TABLE at the name's place in the text; PERMISSION_DENIED for what looks like a file."""
    shown = ".".join(reference.parts)
    place = (reference.offset, len(shown.encode())) if reference.offset >= 0 else None
    if any(PATH.search(part) for part in reference.parts):
        detail = f"reading the file '{shown}' is not permitted"
        denied = Refusal("PERMISSION_DENIED", detail, FILES_HINT, place, reference.parts[-1])
        return denied.error(statement.sql)
    if error.problem.code != "UNDEFINED_TABLE":
        return error
    return Refusal("UNDEFINED_TABLE", error.detail, error.hint, name=reference.parts[-1], place=place).error(statement.sql)


def is_system_table(parts: tuple[str, ...]) -> bool:
    """Whether `parts` name a view of `information_schema` that may be read."""
    return len(parts) > 1 and parts[-2].lower() == "information_schema" and parts[-1].lower() in SYSTEM_TABLES


@functools.lru_cache(maxsize=4096)
def refusal(statement: Statement) -> Refusal | None:
    """Why `statement` may not run, whatever the tables are; None where it may."""
    if statement.inner is not None:
        return refusal(statement.inner)
    if statement.nodes is None:
        return _kind_refusal(statement.kind, statement.sql)
    if is_plain(statement):
        return None
    for node in walk(statement.nodes):
        if (found := _node_refusal(node)) is not None:
            # the tree of a PIVOT was made from another text
            return Refusal(found.code, found.detail, found.hint, name=found.name) if statement.pivots else found
    return None if statement.tree is None else _tree_refusal(statement.tree)


def _kind_refusal(kind: str, sql: str) -> Refusal:
    shown = _verb(kind, sql)
    if kind in ("SET", "VARIABLE_SET", "RESET"):
        return Refusal("PERMISSION_DENIED", f"{shown} statements are not permitted", hint_for_set(sql))
    if kind in WRITES:
        return Refusal(
            "READ_ONLY",
            f"{shown} is refused: this connection only reads",
            "change the files under the catalog, or have it writable: serve --writable, connect(writable=True)",
        )
    if kind == "COPY":
        return Refusal("PERMISSION_DENIED", "COPY statements are not permitted", COPY_HINT)
    return Refusal(
        "PERMISSION_DENIED", f"{shown} statements are not permitted", "run queries: SELECT, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN"
    )


def _verb(kind: str, sql: str) -> str:
    """What the statement is called in its own text: DuckDB's kind of INSTALL is LOAD, that of CHECKPOINT is CALL.

    Example:
        >>> _verb("LOAD", "FORCE INSTALL httpfs"), _verb("MERGE_INTO", "merge into t"), _verb("INSERT", "with w as ...")
        ('INSTALL', 'MERGE INTO', 'INSERT')
    """
    shown = kind.replace("_", " ")
    words = (text.upper() for _, text in tokens(sql))
    first = next((word for word in words if word != "FORCE"), "")
    return first if first.isalpha() and first != "WITH" and not shown.startswith(first) else shown


def _node_refusal(node: Node) -> Refusal | None:
    expression, kind = node.get("class"), node.get("type")
    if isinstance(expression, str):
        if expression not in EXPRESSIONS:
            return Refusal("PERMISSION_DENIED", f"{expression} expressions are not permitted", place=_place(node))
        if expression in ("FUNCTION", "WINDOW", "TYPE") and _is_of_a_file(node):
            what = "types" if expression == "TYPE" else "functions"
            return Refusal("PERMISSION_DENIED", f"{what} of a database file are not permitted", place=_place(node))
        if expression in ("FUNCTION", "WINDOW"):
            return _function_refusal(node)
        return None
    if not isinstance(kind, str):
        return None
    if kind not in QUERY_NODES:
        return _dml_refusal(kind)
    match kind:
        case "TABLE_FUNCTION":
            return _table_function_refusal(node)
        case "BASE_TABLE":
            return _table_refusal(node)
        case "SHOW_REF" if node.get("show_type") == "SHOW_SPECIAL":
            shown = node.get("table_name", "").strip('"')
            if shown not in SHOWN:
                return Refusal(
                    "PERMISSION_DENIED", f"SHOW {shown} is not permitted", "SHOW TABLES lists the tables", name=shown
                )
    return None


def _place(node: Node) -> tuple[int, int] | None:
    offset = node.get("query_location", NOWHERE)
    return None if offset >= NOWHERE else (offset, max(1, node.get("query_location_length", 1)))


def _dml_refusal(kind: str) -> Refusal:
    what = kind.removesuffix("_QUERY_NODE").removesuffix("_NODE").replace("_", " ")
    if kind.startswith(("INSERT", "UPDATE", "DELETE", "MERGE")):
        return Refusal("READ_ONLY", f"{what} inside WITH is refused: this connection only reads", name=what.split()[0])
    return Refusal("PERMISSION_DENIED", f"{what} is not permitted in a query", name=what.split()[0])


def _function_refusal(node: Node) -> Refusal | None:
    name = _function_name(node)
    if name in DENIED_FUNCTIONS or DENIED_PATTERN.match(name):
        return Refusal("PERMISSION_DENIED", f"function {name} is not permitted", place=_place(node), name=name)
    return None


def _is_of_a_file(node: Node) -> bool:
    """Whether a function or a type is asked for within an attached file."""
    path = (node.get("qualified_name") or {}).get("path") or ()
    return any(str(part).lower().startswith(ATTACHED_AS) for part in path[:-1])


def _function_name(node: Node) -> str:
    path = (node.get("qualified_name") or {}).get("path") or [node.get("function_name", "")]
    return str(path[-1]).lower()


def _table_function_refusal(node: Node) -> Refusal | None:
    name = _function_name(node["function"])
    if name in TABLE_FUNCTIONS and not _is_of_a_file(node["function"]):
        return None
    files = name.startswith(("read_", "parquet_", "glob", "sniff_", "scan_")) or name.endswith("_scan")
    hint = FILES_HINT if files else "table functions that may be called: " + ", ".join(sorted(TABLE_FUNCTIONS))
    return Refusal("PERMISSION_DENIED", f"table function {name} is not permitted", hint, place=_place(node))


def _table_refusal(node: Node) -> Refusal | None:
    if node.get("at_clause"):
        return Refusal(
            "NOT_SUPPORTED", "AT (VERSION or TIMESTAMP) is not supported: tables have one version", place=_place(node)
        )
    if len(node["qualified_name"]["path"]) > 3:
        return Refusal("UNDEFINED_TABLE", "a table name has at most three parts: catalog.schema.table", place=_place(node))
    return None


COMMANDS = (
    exp.DML, exp.DDL, exp.Command, exp.Copy, exp.Attach, exp.Detach, exp.Set, exp.Pragma, exp.Use, exp.Drop, exp.Alter,
    exp.TruncateTable, exp.Install, exp.Transaction, exp.Commit, exp.Rollback, exp.Kill, exp.Analyze, exp.LoadData, exp.Export,
)  # fmt: skip


def _tree_refusal(tree: exp.Expression) -> Refusal | None:
    """sqlglot's view of the same text: no command, no reader, no denied function."""
    for node in tree.walk():
        if isinstance(node, COMMANDS) and not isinstance(node, exp.Query):
            return Refusal("READ_ONLY", f"{node.key.upper()} is refused: this connection only reads")
        if isinstance(node, (exp.ReadCSV, exp.ReadParquet)):
            return Refusal("PERMISSION_DENIED", f"{node.key} is not permitted", FILES_HINT)
        if isinstance(node, exp.Anonymous):
            name = str(node.name).lower()
            if name in DENIED_FUNCTIONS or (DENIED_PATTERN.match(name) and not isinstance(node.parent, exp.Dot)):
                return Refusal("PERMISSION_DENIED", f"function {name} is not permitted", name=name)
    return None
