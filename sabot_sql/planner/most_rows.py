"""The most rows that a plain statement can work on: from DuckDB's tree and the counted rows of its tables, nothing guessed.

Where that is little, nothing finer has to be known before the statement runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sabot_sql.catalog.hive import fold
from sabot_sql.catalog.table import Table
from sabot_sql.planner.parse_nodes import Node
from sabot_sql.types import SqlType

MOST_ROWS = 1 << 62

INTEGERS = frozenset("TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT".split())
EXACT_TYPES = INTEGERS | {"VARCHAR", "DATE", "TIMESTAMP", "UUID"}
"""Types whose values are equal only where they are counted as one value."""

Tables = Mapping[tuple[str, ...], Table]
Ctes = Mapping[str, tuple[int, int, int]]
"""By name the rows that a query of WITH gives, and the rows and bytes that it reads."""


class NotCounted(Exception):
    """The rows of a table are not known exactly."""


class MostRows:
    """One walk over the queries of a plain statement.

    Args:
        tables: by name parts in lower case.

    Attributes:
        scanned: rows of all tables, each as often as it is read.
        peak: rows of the largest join or UNION.
        out: rows of the answer.
        size_bytes: of all tables, each as often as it is read.

    Raises:
        NotCounted: the rows of a table are not known exactly.
    """

    def __init__(self, root: Node, tables: Tables) -> None:
        self._tables = tables
        self.scanned = self.peak = self.size_bytes = 0
        self.out = self._query(root, {})

    def _query(self, node: Node, ctes: Ctes) -> int:
        for cte in node["cte_map"].get("map", ()):
            scanned, size = self.scanned, self.size_bytes
            rows = self._query(cte["value"]["query_node"], ctes)
            ctes = {**ctes, cte["key"].lower(): (rows, self.scanned - scanned, self.size_bytes - size)}
            self.scanned, self.size_bytes = scanned, size
        if node["type"] == "SELECT_NODE":
            return max(1, self._source(node["from_table"], ctes, node.get("where_clause")))
        return self._made(sum(self._query(child, ctes) for child in node["children"]))

    def _made(self, rows: int) -> int:
        self.peak = max(self.peak, min(rows, MOST_ROWS))
        return min(rows, MOST_ROWS)

    def _source(self, node: Node, ctes: Ctes, where: Node | None = None) -> int:
        match node["type"]:
            case "BASE_TABLE":
                return self._table(node, ctes)
            case "SUBQUERY":
                return self._query(node["subquery"]["node"], ctes)
            case "EXPRESSION_LIST":
                return len(node["values"])
            case "JOIN" if node["join_type"] == "INNER":
                return self._inner(node, ctes, where)
            case "JOIN":
                left, right = self._source(node["left"], ctes), self._source(node["right"], ctes)
                return self._made(left * right + left + right)
        return 1

    def _table(self, node: Node, ctes: Ctes) -> int:
        path = tuple(part.lower() for part in node["qualified_name"]["path"])
        if len(path) == 1 and (cte := ctes.get(path[0])) is not None:
            rows, scanned, size = cte
        else:
            statistics = self._table_of(path).statistics
            rows = scanned = statistics.rows or 0
            size = statistics.size_bytes
        self.scanned = min(MOST_ROWS, self.scanned + scanned)
        self.size_bytes += size
        return rows

    def _table_of(self, path: tuple[str, ...]) -> Table:
        found = self._tables.get(path)
        if found is None or found.statistics.rows is None or found.statistics.confidence != "exact":
            raise NotCounted
        return found

    def _inner(self, node: Node, ctes: Ctes, where: Node | None) -> int:
        """Rows of inner joins: what is joined by a column without equal values adds none."""
        sources: list[_Source] = []
        pairs: list[tuple[int, int]] = []
        self._flatten(node, ctes, sources, pairs)
        for condition in _conjuncts(where):
            pairs += _pair(condition, sources)
        left = sorted(range(len(sources)), key=lambda i: sources[i].rows)
        joined = {left.pop()}
        rows = sources[next(iter(joined))].rows
        while left:
            keyed = next((i for i in left if any((i, j) in pairs for j in joined)), None)
            place = left[0] if keyed is None else keyed
            left.remove(place)
            joined.add(place)
            rows = self._made(rows * (1 if keyed is not None else sources[place].rows))
        return rows

    def _flatten(self, node: Node, ctes: Ctes, sources: list[_Source], pairs: list[tuple[int, int]]) -> None:
        """Append the sources of inner joins, and (i, j) for each source `i` of which a row of `j` finds at most one."""
        if node["type"] != "JOIN" or node["join_type"] != "INNER":
            path = tuple(part.lower() for part in node["qualified_name"]["path"]) if node["type"] == "BASE_TABLE" else ()
            named = path and "column_name_alias" not in node and not (len(path) == 1 and path[0] in ctes)
            rows = self._source(node, ctes)
            alias = (node.get("alias") or (path[-1] if path else "")).lower()
            sources.append(_Source(alias, rows, self._table_of(path) if named else None))
            return
        self._flatten(node["left"], ctes, sources, pairs)
        before = len(sources)
        self._flatten(node["right"], ctes, sources, pairs)
        for name in node.get("using_columns", ()):
            for right in range(before, len(sources)):
                for left in range(before):
                    pairs += _keyed((left, fold(name)), (right, fold(name)), sources)
        for condition in _conjuncts(node.get("condition")):
            pairs += _pair(condition, sources)


@dataclass(frozen=True, slots=True)
class _Source:
    """What stands in FROM; `table` is None where its columns are not looked at."""

    alias: str
    rows: int
    table: Table | None


def _conjuncts(condition: Node | None) -> Iterator[Node]:
    if condition is None:
        return
    if condition.get("type") == "CONJUNCTION_AND":
        for child in condition["children"]:
            yield from _conjuncts(child)
    else:
        yield condition


def _pair(condition: Node, sources: list[_Source]) -> Iterator[tuple[int, int]]:
    if condition.get("type") != "COMPARE_EQUAL":
        return
    one, other = (_column(condition[side], sources) for side in ("left", "right"))
    if one is not None and other is not None:
        yield from _keyed(one, other, sources)


def _column(node: Node, sources: list[_Source]) -> tuple[int, str] | None:
    """The source and the folded name of a column; None where that is not certain."""
    if node.get("class") != "COLUMN_REF":
        return None
    *owner, name = node["column_names"]
    if (not owner and any(s.table is None for s in sources)) or len(owner) > 1:
        return None
    places = [i for i, s in enumerate(sources) if (s.alias == owner[0].lower() if owner else _type(s, fold(name)))]
    return (places[0], fold(name)) if len(places) == 1 else None


def _keyed(one: tuple[int, str], other: tuple[int, str], sources: list[_Source]) -> Iterator[tuple[int, int]]:
    """(i, j) for each side `i` of an equality that is a column without equal values."""
    (i, a), (j, b) = one, other
    left, right = _type(sources[i], a), _type(sources[j], b)
    if left is None or right is None or i == j or not _alike(left, right):
        return
    if _is_key(sources[i], a):
        yield i, j
    if _is_key(sources[j], b):
        yield j, i


def _type(source: _Source, name: str) -> SqlType | None:
    schema: Any = () if source.table is None else source.table.schema
    return next((field.type for field in schema if fold(field.name) == name), None)


def _alike(one: SqlType, other: SqlType) -> bool:
    """Whether comparing values of the two types leaves different ones different."""
    return one.id in EXACT_TYPES and (one == other or (one.id in INTEGERS and other.id in INTEGERS))


def _is_key(source: _Source, name: str) -> bool:
    assert source.table is not None
    statistics = source.table.statistics
    found = next((s for n, s in statistics.columns.items() if fold(n) == name), None)
    if found is None or found.distinct_from != "count" or found.distinct_count is None or found.null_count is None:
        return False
    return found.distinct_count >= source.rows - found.null_count
