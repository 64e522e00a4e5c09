"""`GET /v1/completions`: what may stand at the cursor of a statement that is being written."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sabot_sql.catalog.table import Table
from sabot_sql.engine.readable import may_read
from sabot_sql.jobs.manager import JobManager
from sabot_sql.planner.sql_position import fold
from sabot_sql.server.cursor_context import Context, context_at
from sabot_sql.server.vocabulary import AFTER_TABLE, BEGINNINGS, IN_EXPRESSION, Function, functions, reserved_words
from sabot_sql.types import quote_identifier

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
REMEMBERED_S = 5.0

Kind = Literal["column", "table", "function", "keyword"]


@dataclass(frozen=True, slots=True)
class Offer:
    """What may be written: the text, what it is, and more about it."""

    text: str
    kind: Kind
    detail: str | None = None


class Completer:
    """Completes statements over the tables of a manager, which it looks at every few seconds. Thread-safe."""

    def __init__(self, manager: JobManager) -> None:
        self._manager = manager
        self._lock = threading.Lock()
        self._tables: list[Table] = []
        self._looked_s = -REMEMBERED_S

    def complete(self, text: str, position: int, limit: int, readable: tuple[str, ...] | None = None) -> dict[str, Any]:
        """The object of the route.

        Args:
            text: the statement, in which what stands after the cursor may name tables too.
            position: characters before the cursor.
            readable: patterns of the tables to offer; None for all.
        """
        position = min(position, len(text))
        context = context_at(text, position)
        offers = list(offers_at(context, [t for t in self._known_tables() if may_read(readable, t.name)]))
        shown = [asdict(offer) for offer in offers[:limit]]
        return {"start": context.start, "end": position, "completions": shown}

    def _known_tables(self) -> list[Table]:
        with self._lock:
            if time.monotonic() - self._looked_s > REMEMBERED_S:
                self._tables = [table for table in self._manager.tables() if table.error is None]
                self._looked_s = time.monotonic()
            return self._tables


def offers_at(context: Context, tables: Sequence[Table]) -> Iterator[Offer]:
    """What may stand at the cursor and begins as what is typed there, the likeliest kind first."""
    by_name = {fold(table.name): table for table in tables}
    match context.place:
        case "nowhere":
            return
        case "member":
            yield from beginning_with(context, member_offers(context, by_name))
        case "beginning":
            yield from beginning_with(context, keywords(BEGINNINGS, context))
        case "table":
            yield from beginning_with(context, table_offers(tables))
            yield from beginning_with(context, (Offer(name, "table", "WITH") for name in context.queries))
            yield from beginning_with(context, function_offers(f for f in functions() if f.kind == "table"))
        case "after_table":
            yield from beginning_with(context, keywords(AFTER_TABLE, context))
        case "expression":
            yield from beginning_with(context, column_offers(context, by_name))
            yield from beginning_with(context, alias_offers(context, by_name))
            yield from beginning_with(context, function_offers(f for f in functions() if f.kind != "table"))
            yield from beginning_with(context, keywords(IN_EXPRESSION, context))


def beginning_with(context: Context, offers: Iterable[Offer]) -> list[Offer]:
    """The offers that go on from what is typed, each once, by name."""
    typed = context.typed.lower()
    found = {offer.text: offer for offer in offers if offer.text.strip('"').lower().startswith(typed)}
    return sorted(found.values(), key=lambda offer: (offer.text.strip('"').lower(), offer.text))


def member_offers(context: Context, by_name: dict[str, Table]) -> Iterator[Offer]:
    """What may follow a dot: columns of a table, or tables of a schema."""
    if (table := by_name.get(context.tables.get(context.owner, context.owner))) is not None:
        yield from columns_of(table)
    for name, other in by_name.items():
        schema, _, _ = name.rpartition(".")
        if context.owner == (schema or "main"):
            yield Offer(written(other.name.rpartition(".")[2]), "table", size_of(other))


def column_offers(context: Context, by_name: dict[str, Table]) -> Iterator[Offer]:
    """The columns of the tables that the statement names."""
    for name in context.tables.values():
        if (table := by_name.get(name)) is not None:
            yield from columns_of(table)


def columns_of(table: Table) -> Iterator[Offer]:
    """The columns of a table."""
    for field in table.schema:
        yield Offer(written(field.name), "column", f"{field.type}, {table.name}")


def alias_offers(context: Context, by_name: dict[str, Table]) -> Iterator[Offer]:
    """The names that the statement's tables go by."""
    for alias, name in context.tables.items():
        if name in by_name or name in map(fold, context.queries):
            yield Offer(written(alias), "table", None if alias == name else name)


def table_offers(tables: Iterable[Table]) -> Iterator[Offer]:
    """The tables of the catalog."""
    for table in tables:
        yield Offer(".".join(map(written, filter(None, table.name.rpartition(".")[::2]))), "table", size_of(table))


def size_of(table: Table) -> str | None:
    """How many rows a table has."""
    rows = table.statistics.rows
    return None if rows is None else f"{rows:,} row{'s' if rows != 1 else ''}"


def function_offers(known: Iterable[Function]) -> Iterator[Offer]:
    """Functions, with how they are called."""
    for function in known:
        yield Offer(function.name, "function", function.call)


def keywords(words: Iterable[str], context: Context) -> Iterator[Offer]:
    """Keywords, in small letters where such are being typed."""
    small = context.typed.islower()
    for word in words:
        yield Offer(word if small else word.upper(), "keyword")


def written(name: str) -> str:
    """A name as it stands in a statement: quoted where it must be.

    Example:
        >>> written("fare"), written("my fare"), written("order")
        ('fare', '"my fare"', '"order"')
    """
    return name if PLAIN.fullmatch(name) and name.lower() not in reserved_words() else quote_identifier(name)
