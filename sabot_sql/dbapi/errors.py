"""The exceptions of PEP 249, and which of them an error of sabot-sql is.

Warning
Error
├── InterfaceError          the module was used wrongly: a closed cursor, a fetch before a query, an argument
└── DatabaseError
    ├── DataError           values: division by zero, a cast that fails, what Python cannot hold
    ├── OperationalError    not the statement's fault: connection, memory, time, agents, files
    ├── IntegrityError      is never raised: there are no constraints
    ├── InternalError       a bug of ours
    ├── ProgrammingError    the statement: syntax, names, types, parameters, rights
    └── NotSupportedError   valid SQL that is not run here
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sabot_sql import errors


class Warning(Exception):  # the name is PEP 249's
    """Is never raised: warnings of a query are `cursor.messages`."""


class Error(Exception):
    """Base of all errors of this module.

    Attributes:
        cause: the error of sabot-sql with its `problem`, `position`, `hint` and `query_id`, or None.
        sqlstate: five characters, or None.
        code: of the table in docs/errors.md, or None.
    """

    def __init__(self, text: str, cause: errors.SabotError | None = None) -> None:
        super().__init__(text)
        self.cause = cause

    @property
    def code(self) -> str | None:
        """The code in docs/errors.md, such as UNDEFINED_TABLE."""
        return self.cause.problem.code if self.cause else None

    @property
    def sqlstate(self) -> str | None:
        """The SQLSTATE, such as 42P01."""
        return self.cause.problem.sqlstate if self.cause else None


class InterfaceError(Error):
    """The module was used wrongly."""


class DatabaseError(Error):
    """Anything that comes from the engine."""


class DataError(DatabaseError):
    """A value is not what it should be."""


class OperationalError(DatabaseError):
    """What the statement is not to blame for."""


class IntegrityError(DatabaseError):
    """Is never raised: there are no constraints."""


class InternalError(DatabaseError):
    """A bug of ours."""


class ProgrammingError(DatabaseError):
    """The statement has to be changed."""


class NotSupportedError(DatabaseError):
    """Valid SQL that is not run here."""


DATA_CODES = frozenset(("INVALID_VALUE", "DIVISION_BY_ZERO"))
NOT_SUPPORTED_CODES = frozenset(("NOT_SUPPORTED", "READ_ONLY", "NOT_ACCEPTABLE"))
OPERATIONAL_CODES = frozenset(
    (
        "UNAUTHENTICATED", "QUERY_NOT_FINISHED", "RESULT_EXPIRED", "BODY_TOO_LARGE", "STATEMENT_TOO_LARGE", "RESULT_TOO_LARGE",
    )
)  # fmt: skip


def error_class(error: errors.SabotError) -> type[DatabaseError]:
    """The class of PEP 249 that `error` belongs to.

    Example:
        >>> error_class(errors.PlanError("no such table", code="UNDEFINED_TABLE")).__name__
        'ProgrammingError'
    """
    code = error.problem.code
    if code in DATA_CODES:
        return DataError
    if code in NOT_SUPPORTED_CODES:
        return NotSupportedError
    if code in OPERATIONAL_CODES or isinstance(error, (errors.ExecutionError, errors.ServiceError)):
        return OperationalError
    return ProgrammingError if isinstance(error, errors.QueryError) else InternalError


@contextlib.contextmanager
def translated(sql: str | None = None) -> Iterator[None]:
    """Errors of sabot-sql inside the block leave it as those of PEP 249.

    Args:
        sql: the statement, which the message then shows with a caret under the place.
    """
    try:
        yield
    except errors.SabotError as error:
        error.sql = error.sql or sql
        raise error_class(error)(str(error), error) from error
