"""What tables there are, for SQLAlchemy's inspector. There are no constraints, indexes or comments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, exc
from sqlalchemy.engine import default, reflection
from sqlalchemy.engine.interfaces import ReflectedColumn, ReflectedPrimaryKeyConstraint, ReflectedTableComment

from sabot_sql.dbapi.errors import translated
from sabot_sql.sqlalchemy.column_types import sqlalchemy_type

DEFAULT_SCHEMA = "main"
IN_DATABASE = frozenset(("duckdb", "view"))  # whose tables may be in schemas


class Reflection(default.DefaultDialect):
    """The part of the dialect that the inspector calls."""

    default_schema_name = DEFAULT_SCHEMA

    @reflection.cache
    def _tables(self, connection: Connection, **kw: Any) -> dict[str, dict[str, bool]]:
        """Schema -> table -> whether it is a view."""
        found: dict[str, dict[str, bool]] = defaultdict(dict)
        found[DEFAULT_SCHEMA] = {}
        with translated():
            tables = connection.connection.dbapi_connection.client.tables()  # type: ignore[union-attr]
        for table in tables:
            schema, name = schema_and_name(table)
            found[schema][name] = table.get("format") == "view"
        return found

    def _kinds(self, connection: Connection, schema: str | None, **kw: Any) -> dict[str, bool]:
        found: dict[str, dict[str, bool]] = self._tables(connection, **kw)
        return found.get(schema or DEFAULT_SCHEMA, {})

    def get_schema_names(self, connection: Connection, **kw: Any) -> list[str]:
        """`main`, and the schemas of DuckDB files."""
        return sorted(self._tables(connection, **kw))

    def has_schema(self, connection: Connection, schema_name: str, **kw: Any) -> bool:
        """Whether there are tables of that schema."""
        return schema_name in self._tables(connection, **kw)

    def get_table_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        """The tables that are not views."""
        return sorted(name for name, view in self._kinds(connection, schema, **kw).items() if not view)

    def get_view_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        """The views of DuckDB files."""
        return sorted(name for name, view in self._kinds(connection, schema, **kw).items() if view)

    def has_table(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> bool:
        """Whether there is a table or view of that name, in any case."""
        return table_name.lower() in map(str.lower, self._kinds(connection, schema, **kw))

    @reflection.cache
    def get_columns(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> list[ReflectedColumn]:
        """Name, type and nullable of every column."""
        self._must_exist(connection, table_name, schema, **kw)
        quote = self.identifier_preparer.quote_identifier
        name = f"{quote(schema or DEFAULT_SCHEMA)}.{quote(table_name)}"
        rows = connection.exec_driver_sql(f"DESCRIBE {name}").mappings()
        return [
            {
                "name": row["column_name"],
                "type": sqlalchemy_type(row["column_type"]),
                "nullable": row["null"] != "NO",
                "default": None,
            }
            for row in rows
        ]

    def _must_exist(self, connection: Connection, table_name: str, schema: str | None, **kw: Any) -> None:
        if not self.has_table(connection, table_name, schema, **kw):
            raise exc.NoSuchTableError(f"{schema}.{table_name}" if schema else table_name)

    def get_pk_constraint(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> ReflectedPrimaryKeyConstraint:
        """No columns: there are no keys."""
        self._must_exist(connection, table_name, schema, **kw)
        return {"constrained_columns": [], "name": None, "comment": None}

    def _nothing(self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any) -> list[Any]:
        self._must_exist(connection, table_name, schema, **kw)
        return []

    get_foreign_keys = get_indexes = get_unique_constraints = get_check_constraints = _nothing

    def get_table_comment(
        self, connection: Connection, table_name: str, schema: str | None = None, **kw: Any
    ) -> ReflectedTableComment:
        """No text: tables have no comments."""
        self._must_exist(connection, table_name, schema, **kw)
        return {"text": None}

    def get_temp_table_names(self, connection: Connection, schema: str | None = None, **kw: Any) -> list[str]:
        """None."""
        return []

    get_temp_view_names = get_materialized_view_names = get_sequence_names = get_temp_table_names


def schema_and_name(table: Mapping[str, Any]) -> tuple[str, str]:
    """Schema and name of a table of the catalog, where those of a DuckDB file's other schemas are called `schema.name`.

    Example:
        >>> schema_and_name({"name": "s.u", "format": "duckdb"}), schema_and_name({"name": "v1.2", "format": "csv"})
        (('s', 'u'), ('main', 'v1.2'))
    """
    schema, dot, name = str(table["name"]).partition(".")
    if dot and table.get("format") in IN_DATABASE:
        return schema, name
    return DEFAULT_SCHEMA, str(table["name"])
