"""Whether a statement could run: parsed and bound, never run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sabot_sql.catalog.table import Table
from sabot_sql.planner.bind import Binder
from sabot_sql.planner.guard import unbindable
from sabot_sql.planner.parameters import bound_parameters
from sabot_sql.planner.parse import Statement
from sabot_sql.planner.physical import Session
from sabot_sql.planner.show import STATE_PREFIX
from sabot_sql.types import Field, Schema, SqlType

EXPLAINED = (Field("explain_key", SqlType("VARCHAR")), Field("explain_value", SqlType("VARCHAR")))


@dataclass(frozen=True, slots=True)
class Validation:
    """What binding says of a statement.

    Attributes:
        columns: of its result; None where binding does not tell, which `warnings` then explain.
        parameters: its names in order, "1", "2", ... for positions.
        tables: those of the catalog that it reads.
    """

    statement_type: str
    columns: Schema | None
    parameters: tuple[str, ...]
    tables: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def validated(
    statement: Statement,
    params: Mapping[str, Any] | Sequence[Any] | None,
    tables: Sequence[Table],
    binder: Binder,
    session: Session,
) -> Validation:
    """What binding says of a statement that a reader may run.

    Args:
        params: values of its parameters; those without one count as NULL.

    Raises:
        PlanError: it does not bind.
        QueryError: INVALID_PARAMETER, for one that it has not.
    """
    subject = statement.inner or statement
    values = some_parameters(subject, params)
    columns, warnings = None, []
    if subject.pivots:
        warnings.append("the columns of a PIVOT without IN follow from the data, which was not read")
    elif (why := unbindable(subject, values)) is not None:
        warnings.append(f"it was not bound: {why}")
    else:
        columns = binder.describe(subject.sql, values or None, tables, session)
    names = tuple(shown_name(table.name) for table in tables)
    explains = statement.inner is not None
    return Validation(statement.kind, EXPLAINED if explains else columns, subject.parameters, names, tuple(warnings))


def shown_name(table: str) -> str:
    """The name of a table as a statement writes it."""
    return f"system.{table.removeprefix(STATE_PREFIX)}" if table.startswith(STATE_PREFIX) else table


def some_parameters(statement: Statement, params: Mapping[str, Any] | Sequence[Any] | None) -> dict[str, Any]:
    """The values of a statement's parameters by name, NULL for those that have none."""
    if params is None:
        given: dict[str, Any] = {}
    elif isinstance(params, Mapping):
        given = {str(name).lstrip("$:").lower(): value for name, value in params.items()}
    else:
        given = {str(place): value for place, value in enumerate(params, 1)}
    return bound_parameters(statement, {**{name.lower(): None for name in statement.parameters}, **given})
