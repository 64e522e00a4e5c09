"""Views of the catalog: where a statement names one, the text of its query is put in its place.

    SELECT * FROM v AS a JOIN t ON …   ->   SELECT * FROM (SELECT … FROM u) AS a JOIN t ON …

All that follows sees one query without views: the policy, the guards of memory, the estimate, both routes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from sabot_sql.errors import NotSupported, PlanError, SabotError
from sabot_sql.planner.parse import Statement, parse
from sabot_sql.planner.parse_nodes import NOWHERE, Node, walk
from sabot_sql.planner.sql_position import TOKEN, fold, position_at, tokens
from sabot_sql.types import quote_identifier

LONGEST = 256 << 10
"""Characters of a statement with all its views in it."""

Lookup = Callable[[tuple[str, ...]], tuple[str, str] | None]
"""The name and the query of the view that name parts stand for; None where they stand for something else."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A piece of the text that was replaced: where it began and ended, and the length of what stands there now."""

    begin: int
    end: int
    length: int


@dataclass(frozen=True, slots=True)
class Expanded:
    """A statement without views, and what was done to its text.

    Attributes:
        views: names of those that it names, or one of them does, in small letters.
        bodies: what each of them stands for, without views. In the statement an outer query may give a body a column that it
            has not of its own: each must be bound alone.
    """

    statement: Statement
    original: str
    edits: tuple[Edit, ...] = ()
    views: frozenset[str] = frozenset()
    bodies: tuple[tuple[str, Statement], ...] = ()

    def placed(self, error: SabotError) -> SabotError:
        """`error` with its place in the text as it was written; none where that is in a view."""
        if error.position is not None and self.edits:
            moved = self._moved(error.position.offset)
            error.position = None if moved is None else position_at(self.original, moved, error.position.length)
        if error.sql is not None:
            error.sql = self.original
        return error

    def _moved(self, offset: int) -> int | None:
        shift = 0
        for edit in self.edits:
            begin = edit.begin + shift
            if offset < begin:
                break
            if offset < begin + edit.length:
                return None
            shift += edit.length - (edit.end - edit.begin)
        return offset - shift


def expand_views(statement: Statement, lookup: Lookup) -> Expanded:
    """`statement` with the queries of the views that it names.

    Raises:
        PlanError: a view reads itself; the statement is too long with all of them.
        NotSupported: it names one where no query may stand, or hides a table of one by a name of WITH.
    """
    made: dict[str, Expanded] = {}
    found = _expand(statement, lookup, (), made)
    return replace(found, bodies=tuple((name, body.statement) for name, body in made.items())) if made else found


def _expand(statement: Statement, lookup: Lookup, inside: tuple[str, ...], made: dict[str, Expanded]) -> Expanded:
    used = {parts: found for parts in statement.tables if (found := lookup(parts)) is not None}
    if not used:
        return Expanded(statement, statement.sql)
    bodies = {parts: _body(*found, lookup, inside, made) for parts, found in used.items()}
    whole = statement.itself
    for (name, _), body in zip(used.values(), bodies.values()):
        _refuse_hidden(name, body.statement, whole)
    sql = statement.sql
    places = sorted(_places(whole, used), reverse=True)
    edits = []
    for begin, end, parts, needs_alias in places:
        name = quote_identifier(parts[-1])
        text = f"(\n{bodies[parts].statement.sql}\n)" + (f" AS {name}" if needs_alias else "")
        if needs_alias is None:  # DESCRIBE v, SUMMARIZE v
            text = f"(SELECT * FROM {text} AS {name})"
        sql = f"{sql[:begin]}{text}{sql[end:]}"
        edits.append(Edit(begin, end, len(text)))
        if len(sql) > LONGEST:
            raise PlanError("the statement is too long with its views in it", code="STATEMENT_TOO_COMPLEX")
    whole = parse(sql)
    if whole.kind != statement.kind and statement.kind != "SHOW":
        raise NotSupported(f"a view cannot stand there in {statement.kind}", hint="write SELECT * FROM it")
    views = frozenset(name.lower() for name, _ in used.values()).union(*(body.views for body in bodies.values()))
    return Expanded(replace_kind(whole, statement.kind), statement.sql, tuple(reversed(edits)), views)


def replace_kind(statement: Statement, kind: str) -> Statement:
    """SHOW v is DESCRIBE v, and is called what it was."""
    return statement if statement.kind == kind else replace(statement, kind=kind)


def _body(name: str, query: str, lookup: Lookup, inside: tuple[str, ...], made: dict[str, Expanded]) -> Expanded:
    """The query of a view without views; that of each is made once, however many read it."""
    key = name.lower()
    if key in inside:
        raise PlanError(f'the view "{name}" reads itself', code="UNDEFINED_TABLE", hint="drop it, and make it anew")
    try:
        if key not in made:
            made[key] = _expand(parse(query), lookup, (*inside, key), made)
        return made[key]
    except RecursionError:
        raise PlanError("views are nested too deeply", code="STATEMENT_TOO_COMPLEX") from None


def _refuse_hidden(name: str, body: Statement, outer: Statement) -> None:
    """The names of WITH around a view are not seen by its query."""
    hidden = {parts[0].lower() for parts in body.tables if len(parts) == 1} & (outer.names.ctes if outer.names else set())
    if hidden:
        raise NotSupported(
            f'a name of WITH hides a table that the view "{name}" reads', hint="give the queries of WITH other names"
        )


Place = tuple[int, int, tuple[str, ...], bool | None]
"""Begin and end of a view's name, its parts, and whether an alias must follow it; None where the whole is a query."""


def _places(statement: Statement, used: dict[tuple[str, ...], tuple[str, str]]) -> list[Place]:
    sql, found = statement.sql, []
    described = statement.kind in ("DESCRIBE", "SHOW", "SUMMARIZE")
    nodes: dict[int, Node] = {}
    for node in walk(statement.nodes or {}):
        if node.get("type") == "BASE_TABLE" and node.get("query_location", NOWHERE) != NOWHERE:
            nodes[node["query_location"]] = node
    for reference in statement.references:
        if reference.parts not in used:
            continue
        if reference.offset < 0 and not described:
            raise NotSupported("a view cannot stand in this PIVOT", hint="write PIVOT (SELECT * FROM v) ON … IN (…)")
        begin = _described_at(sql, reference.parts) if reference.offset < 0 else _characters(sql, reference.offset)
        end = _end_of_name(sql, begin, len(reference.parts))
        alias = None if reference.offset < 0 else not nodes.get(reference.offset, {}).get("alias")
        found.append((begin, end, reference.parts, alias))
    return found


def _described_at(sql: str, parts: tuple[str, ...]) -> int:
    """Where the name is that DESCRIBE, SHOW or SUMMARIZE has: it is the last in the text."""
    places = [offset for offset, text in tokens(sql) if text not in ".;"]
    if len(places) < 1 + len(parts) or [fold(t) for _, t in tokens(sql) if t not in ".;"][-len(parts) :] != [
        p.lower() for p in parts
    ]:
        raise NotSupported("a view cannot stand there", hint="write SELECT * FROM it")
    return places[-len(parts)]


def _characters(sql: str, offset: int) -> int:
    return offset if sql.isascii() else len(sql.encode()[:offset].decode())


def _end_of_name(sql: str, begin: int, parts: int) -> int:
    """Where a name of so many parts ends that begins there."""
    wanted, at = 2 * parts - 1, begin
    while wanted:
        match = TOKEN.match(sql, at)
        if match is None:
            raise NotSupported("a view's name cannot be found in the text", hint="write it without comments")
        at = match.end()
        text = match.group()
        wanted -= not text[0].isspace() and not text.startswith(("--", "/*"))
    return at
