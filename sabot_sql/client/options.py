"""The options of a query, written down once for all methods that take them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict, TypeVar

from sabot_sql.engine.request import Route

C = TypeVar("C", bound=Callable[..., Any])

ParamsArgument = Mapping[str, Any] | Sequence[Any] | None
Threshold = int | Literal["auto"]
LocalEngine = Literal["duckdb", "datafusion"]


class QueryOptions(TypedDict, total=False):
    """Where and how a statement runs.

    Attributes:
        route: `auto` lets the engine choose.
        threshold: rows from which `auto` distributes, or "auto"; None for the connection's.
        engine: engine of the local route; None for the connection's.
        timeout_s: the query is stopped after that.
        dialect: what the statement is written in, by sqlglot's names.
        catalog, schema: what names without these are looked up in.
        timezone: that of TIMESTAMP WITH TIME ZONE; None for the engine's.
        tags: kept with the query.
        idempotency_key: the same key with the same statement gives the first answer, and runs nothing.
        priority: of the queries that wait for their turn the highest runs first, -100 to 100; 0 is the usual.
    """

    route: Route
    threshold: Threshold | None
    engine: LocalEngine | None
    timeout_s: float | None
    dialect: str
    catalog: str | None
    schema: str | None
    timezone: str | None
    tags: Mapping[str, str] | None
    idempotency_key: str | None
    priority: int


def takes_options_of(spelled_out: Callable[..., Any]) -> Callable[[C], C]:
    """Decorates a method whose `**options` go to `spelled_out`: `help()` and `inspect.signature` show them, with their
    defaults."""
    known = inspect.signature(spelled_out).parameters
    options = [known[name] for name in QueryOptions.__annotations__]

    def decorate(method: C) -> C:
        own = inspect.signature(method)
        kept = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        method.__signature__ = own.replace(parameters=[*kept, *options])  # type: ignore[attr-defined]
        return method

    return decorate
