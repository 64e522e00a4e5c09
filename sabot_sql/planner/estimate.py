"""How many rows a statement will work on, from its text and the catalog's statistics alone.

The figure that matters is `work`: rows read, or rows of the largest thing made of them, whichever is more. What cannot be
read is said (`unknown`), never replaced by a number that nobody counted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sabot_sql.catalog.table import Table
from sabot_sql.errors import SabotError
from sabot_sql.planner.constants import Params
from sabot_sql.planner.estimate_tree import TreeEstimate
from sabot_sql.planner.join_size import MOST_ROWS
from sabot_sql.planner.most_rows import MostRows, NotCounted
from sabot_sql.planner.parse import Statement
from sabot_sql.planner.parse_nodes import Node, walk
from sabot_sql.planner.plain import is_plain
from sabot_sql.planner.policy import is_system_table
from sabot_sql.planner.pruning import facts_of

Confidence = Literal["exact", "statistics", "history", "unknown"]
Lookup = Callable[[tuple[str, ...]], Table]

ORDER: tuple[Confidence, ...] = ("exact", "statistics", "history", "unknown")

MOST_INPUTS = 32
"""Lines that say what an estimate rests on."""

KEPT_ESTIMATES = 2048

UNREAD = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a tree of a form that nobody thought of ends in; the estimate is then unknown."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a statement will read, make and give, in rows.

    Attributes:
        rows_scanned: rows read from tables, after files and row groups that a predicate rules out.
        rows_intermediate: rows of the largest join or other intermediate result.
        confidence: `exact` where `work` rests on counted rows alone.
        inputs: what it rests on, one line each.
        at_most: the figures are no estimates but bounds.
    """

    rows_scanned: int
    rows_intermediate: int
    rows_out: int
    bytes_scanned: int
    confidence: Confidence
    inputs: tuple[str, ...] = ()
    at_most: bool = False

    @property
    def work(self) -> int:
        """Rows that decide the route."""
        return max(self.rows_scanned, self.rows_intermediate)


def estimate(statement: Statement, lookup: Lookup, params: Mapping[str, Any] | Sequence[Any] | None = None) -> Estimate:
    """The estimate for `statement`, by statistics alone; never raises for what it cannot read. What earlier runs did is
    added by `planner.past.learnt`.

    Args:
        lookup: the catalog's table for name parts.
        params: values of parameters, by name or position.
    """
    if statement.inner is not None:
        return estimate(statement.inner, lookup, params)
    tables: dict[tuple[str, ...], Table] = {}
    for reference in statement.references:
        if reference.parts not in tables:
            try:
                tables[reference.parts] = lookup(reference.parts)
            except SabotError:
                if not is_system_table(reference.parts):
                    return _unknown(statement, tables, f"table {'.'.join(reference.parts)} is not in the catalog")
    values = _values(params) if statement.parameters else {}
    if values:
        return _estimate(statement, tables, values)
    looked_at = tuple(tables.values())
    with _LOCK:
        kept = _CACHE.get(statement)
        if kept is not None and len(kept[0]) == len(looked_at) and all(a is b for a, b in zip(kept[0], looked_at)):
            _CACHE.move_to_end(statement)
            return kept[1]
    found = _estimate(statement, tables, {})
    with _LOCK:
        _CACHE[statement] = looked_at, found
        if len(_CACHE) > KEPT_ESTIMATES:
            _CACHE.popitem(last=False)
    return found


def most(statement: Statement, tables: Sequence[Table], lookup: Lookup) -> Estimate | None:
    """What `statement` works on at most, whatever its constants and parameters are; None where that is not known without
    a closer look.

    Args:
        tables: what `policy.check` gave for it.
        lookup: the catalog's table for name parts.
    """
    statement = statement.like or statement
    kept = _BOUNDS.get(statement)
    if kept is not None and len(kept[0]) == len(tables) and all(a is b for a, b in zip(kept[0], tables)):
        return kept[1]
    found = _most(statement, lookup)
    with _LOCK:
        _BOUNDS[statement] = tuple(tables), found
        if len(_BOUNDS) > KEPT_ESTIMATES:
            _BOUNDS.popitem(last=False)
    return found


def _most(statement: Statement, lookup: Lookup) -> Estimate | None:
    if statement.nodes is None or not is_plain(statement):
        return None
    try:
        named = {tuple(p.lower() for p in r.parts): lookup(r.parts) for r in statement.references}
        found = MostRows(statement.nodes, named)
    except (NotCounted, SabotError):
        return None
    return Estimate(found.scanned, found.peak, found.out, found.size_bytes, "exact", (), True)


_CACHE: OrderedDict[Statement, tuple[tuple[Table, ...], Estimate]] = OrderedDict()
_BOUNDS: OrderedDict[Statement, tuple[tuple[Table, ...], Estimate | None]] = OrderedDict()
_LOCK = threading.Lock()


def _values(params: Mapping[str, Any] | Sequence[Any] | None) -> dict[str, Any]:
    if isinstance(params, Mapping):
        return {str(k).lstrip("$:"): v for k, v in params.items()}
    return {str(i): v for i, v in enumerate(params or (), 1)}


def _estimate(statement: Statement, tables: dict[tuple[str, ...], Table], params: Params) -> Estimate:
    if statement.kind in ("DESCRIBE", "SHOW"):
        return Estimate(0, 0, 0, 0, "exact", ("reads the catalog only",))
    if statement.kind == "SUMMARIZE" and len(statement.references) == 1 and all(t.statistics.rows for t in tables.values()):
        (table,) = tables.values()
        rows, confidence = table.statistics.rows or 0, table.statistics.confidence
        return Estimate(rows, rows, len(table.schema), table.statistics.size_bytes, confidence, (facts_of(table).line,))
    if statement.tree is None:
        return _coarse(statement, tables)
    facts = {tuple(p.lower() for p in parts): facts_of(t) for parts, t in tables.items()}
    work = TreeEstimate(facts, params)
    try:
        out = work.rows(statement.tree)
        read = [(scan.facts, scan.rows) for scan in work.scans]
        size = sum(facts.size_bytes * (rows / facts.rows if facts.rows else 1.0) for facts, rows in read)
        scanned, peak = sum(rows for _, rows in read), work.peak
        return Estimate(_whole(scanned), _whole(peak), _whole(out), _whole(size), _confidence(work), tuple(_inputs(work)))
    except UNREAD as error:
        found = _coarse(statement, tables)
        why = f"the statement has a form that is not read for an estimate ({type(error).__name__})"
        return replace(found, inputs=(*found.inputs[:-1], why))


def _confidence(work: TreeEstimate) -> Confidence:
    if work.unknown:
        return "unknown"
    found: Confidence = "statistics" if work.guesses else "exact"
    return max([found, *(s.facts.table.statistics.confidence for s in work.scans)], key=ORDER.index)


def _inputs(work: TreeEstimate) -> list[str]:
    lines = list(dict.fromkeys(scan.facts.line for scan in work.scans))
    for scan in work.scans:
        if scan.facts.rows and (rows := scan.rows) < scan.facts.rows:
            what = "LIMIT leaves" if scan.most_rows is not None else "predicates leave"
            lines.append(f"{scan.facts.table.name}: {what} {rows:,.0f} rows to read")
    return [*lines, *work.guesses][: MOST_INPUTS - len(work.unknown)] + work.unknown[:MOST_INPUTS]


def _whole(rows: float) -> int:
    return int(min(MOST_ROWS, rows + 0.5))


def _unknown(statement: Statement, tables: dict[tuple[str, ...], Table], why: str) -> Estimate:
    """What is known of the tables stays in the figures; the confidence says that it is not the answer."""
    named = [facts_of(tables[r.parts]) for r in statement.references if r.parts in tables]
    lines = tuple(dict.fromkeys(f.line for f in named))
    return Estimate(sum(f.rows or 0 for f in named), 0, 0, sum(f.size_bytes for f in named), "unknown", (*lines, why))


def _coarse(statement: Statement, tables: dict[tuple[str, ...], Table]) -> Estimate:
    """From DuckDB's own tree, where there is no other: the rows of all tables. That is the work where nothing multiplies
    them: each table stands alone, or is joined by an equality."""
    why = "the statement is written in a way that is not read for an estimate"
    found = _unknown(statement, tables, why)
    known = all(t.statistics.confidence != "unknown" and t.statistics.rows is not None for t in tables.values())
    system = any(is_system_table(r.parts) for r in statement.references)
    if not tables or not known or system or statement.nodes is None or any(map(_multiplies, walk(statement.nodes))):
        return found
    lines = (*found.inputs[:-1], f"{why}: every row of its tables is counted")
    return replace(found, confidence="statistics", rows_out=found.rows_scanned, inputs=lines)


def _multiplies(node: Node) -> bool:
    """Whether a part of DuckDB's tree may give more rows than its inputs have."""
    kind = node.get("type")
    if kind == "JOIN":
        return not _is_equality(node.get("condition"))
    return (isinstance(kind, str) and kind in MULTIPLYING) or node.get("function_name") in (
        "unnest",
        "generate_series",
        "range",
    )


MULTIPLYING = frozenset(("TABLE_FUNCTION", "RECURSIVE_CTE_NODE", "CROSS_PRODUCT", "EMPTY_CROSS"))


def _is_equality(condition: Any) -> bool:
    if not isinstance(condition, dict):
        return False
    if condition.get("type") == "COMPARE_EQUAL":
        return True
    return condition.get("type") == "CONJUNCTION_AND" and any(map(_is_equality, condition.get("children", ())))
