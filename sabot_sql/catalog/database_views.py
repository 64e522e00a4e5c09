"""Views of DuckDB files, as queries that name nothing but tables of their file.

A view as DuckDB keeps it is no use where it is attached: the names in it are first looked for among temporary tables and in
the session's schema, where the catalog's own tables are. So the text is taken, every table in it gets its full name, and
every view in it is written out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from sabot_sql.catalog.hive import fold
from sabot_sql.catalog.sources import DuckDBError, Inspector
from sabot_sql.types import quote_identifier

ATTACHED_AS = "sabot_file_"
"""How the names begin under which DuckDB files are attached. Statements do not name them, nor what they hold beside tables:
their macros may read anything."""

FILE = '"the file of this view"'
"""Stands in the text for the name under which the file is attached."""

NAME = r'(?:"(?:[^"]|"")*"|[\w$]+)'
CREATE = re.compile(rf"CREATE VIEW (?:{NAME}\.)*{NAME}(?: ?\({NAME}(?:, ?{NAME})*\))? AS ", re.IGNORECASE)
TABLE_FUNCTIONS = frozenset(("range", "generate_series", "unnest", "json_each", "json_tree", "regexp_split_to_table"))

Key = tuple[str, str]
"""Schema and name, folded."""


class CannotRead(Exception):
    """Why a view is not read."""


class Views:
    """The views of one attached file.

    Args:
        tables: schema and name of its tables.
        texts: schema and name of its views, each with its CREATE statement.
    """

    def __init__(self, inspector: Inspector, tables: list[tuple[str, str]], texts: dict[tuple[str, str], str]) -> None:
        self._inspector = inspector
        self._tables = {key(*found): found for found in tables}
        self._views = {key(*found): (found, text) for found, text in texts.items()}
        self._written: dict[Key, str] = {}

    def written_out(self, schema: str, name: str) -> str:
        """The query of a view, every table in it with its full name under `FILE`.

        Raises:
            CannotRead: it names what is not in the file, or calls what reads elsewhere.
        """
        place = key(schema, name)
        if place not in self._written:
            self._written[place] = self._write_out(schema, self._views[place][1])
        return self._written[place]

    def _write_out(self, schema: str, text: str) -> str:
        body = CREATE.sub("", text, count=1).rstrip().rstrip(";")
        if body == text.rstrip().rstrip(";"):
            raise CannotRead("its text cannot be taken apart")
        data = body.encode()
        tree = self._tree(body)
        ctes = {fold(name) for name in cte_names(tree)}
        for node in sorted(base_tables(tree), key=lambda n: -int(n["query_location"])):
            parts = [node[part] for part in ("catalog_name", "schema_name", "table_name") if node[part]]
            own = self._own(schema, parts)
            if node["sample"] is not None or node["at_clause"] is not None:
                raise CannotRead(f"it reads a sample or a version of {'.'.join(parts)}")
            if len(parts) == 1 and fold(parts[0]) in ctes:
                if own is not None:
                    raise CannotRead(f"it has a WITH name that is a table's name too: {parts[0]}")
                continue
            if own is None:
                raise CannotRead(f"it names {'.'.join(parts)}, which is not in the file")
            # where the table has an alias, the location spans that too
            start, end = node["query_location"], node["query_location"] + node["query_location_length"]
            if end > len(data):
                raise CannotRead("its text cannot be taken apart")
            alias = quote_identifier(node["alias"] or parts[-1])
            columns = f"({', '.join(map(quote_identifier, node['column_name_alias']))})" if node["column_name_alias"] else ""
            data = data[:start] + f"{self._source(own)} AS {alias}{columns}".encode() + data[end:]
        return data.decode()

    def _own(self, schema: str, parts: list[str]) -> Key | None:
        """The table or view of the file that a name in a view of `schema` stands for."""
        names = [fold(part) for part in parts]
        for place in ((fold(schema), names[0]), ("main", names[0])) if len(names) == 1 else (tuple(names),):
            if len(place) == 2 and (place in self._tables or place in self._views):
                return place
        return None

    def _source(self, place: Key) -> str:
        if place in self._tables:
            return ".".join((FILE, *map(quote_identifier, self._tables[place])))
        return f"({self.written_out(*self._views[place][0])})"

    def _tree(self, body: str) -> Any:
        with self._inspector.cursor() as cursor:
            try:
                found = json.loads(cursor.execute("SELECT json_serialize_sql(?)", [body]).fetchall()[0][0])
            except DuckDBError as error:
                raise CannotRead("its text cannot be taken apart") from error
        if found["error"]:
            raise CannotRead(found["error_message"])
        for node in nodes(found):
            if node.get("type") == "SHOW_REF":
                raise CannotRead("it lists or describes tables")
            if node.get("type") == "TABLE_FUNCTION":
                name = node["function"]["function_name"]
                if name not in TABLE_FUNCTIONS:
                    raise CannotRead(f"it calls the table function {name}")
        return found


def key(schema: str, name: str) -> Key:
    """How a name is looked up."""
    return fold(schema), fold(name)


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """All objects of a parse tree."""
    pending = [tree]
    while pending:
        found = pending.pop()
        if isinstance(found, dict):
            yield found
            pending.extend(found.values())
        elif isinstance(found, list):
            pending.extend(found)


def base_tables(tree: Any) -> Iterator[dict[str, Any]]:
    """The nodes that name tables."""
    return (node for node in nodes(tree) if node.get("type") == "BASE_TABLE")


def cte_names(tree: Any) -> Iterator[str]:
    """The names that WITH defines."""
    for node in nodes(tree):
        if isinstance(entries := node.get("cte_map"), dict):
            yield from (entry["key"] for entry in entries["map"])
