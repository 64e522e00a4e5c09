"""The errors of sabot-sql, sorted by who must act.

SabotError
├── QueryError            the user must change the query
│   ├── ParseError        the text is not SQL
│   ├── PlanError         unknown names, wrong types, refused statements
│   └── NotSupported      valid SQL that this route or engine does not run
├── ExecutionError        a valid query failed while it ran
│   ├── AgentLost         an agent died or could not be reached
│   ├── OutOfMemory       a memory limit was reached
│   ├── ReadError         a data file is missing, changed or corrupt
│   ├── QueryTimeout      the time limit was reached
│   └── Cancelled         the query was cancelled
├── ServiceError          configuration, connection, overload
│   ├── ConfigError
│   ├── ConnectionFailed
│   └── Overloaded
└── InternalError         a bug of ours
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

Kind = Literal["user", "resource", "system", "external", "cancelled"]


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the SQL text an error is: 1-based line and column, 0-based character offset, length in characters."""

    line: int
    column: int
    offset: int = 0
    length: int = 1


class SabotError(Exception):
    """Base of all errors; carries what http-api's problem object needs and survives a trip through JSON.

    Args:
        detail: one sentence: what, where, what to do.
        code: upper-case code of the contract, e.g. ``UNDEFINED_COLUMN``; the class's own code by default.
        position: where in the SQL text.
        hint: what to try instead.
    """

    code: ClassVar[str] = "INTERNAL"
    sqlstate: ClassVar[str] = "XX000"
    status: ClassVar[int] = 500
    kind: ClassVar[Kind] = "system"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        position: Position | None = None,
        hint: str | None = None,
        query_id: str | None = None,
        engine_message: str | None = None,
        retryable: bool = False,
        sql: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problem = PROBLEMS[code] if code else Problem(self.code, self.sqlstate, self.status, self.title, self.kind)
        self.position = position
        self.hint = hint
        self.query_id = query_id
        self.engine_message = engine_message
        self.retryable = retryable
        self.sql = sql

    def __str__(self) -> str:
        lines = [self.detail]
        if self.position is not None:
            lines[0] += f" (line {self.position.line}, column {self.position.column})"
            if self.sql is not None:
                rows = self.sql.splitlines() or [""]
                row = rows[min(self.position.line, len(rows)) - 1]
                # a caret that stays under its character when the line is indented with tabs
                pad = "".join("\t" if c == "\t" else " " for c in row[: self.position.column - 1])
                lines += [f"  {row}", f"  {pad}{'^' * max(1, self.position.length)}"]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)

    def to_problem(self) -> dict[str, Any]:
        """The RFC 9457 problem object of the HTTP contract."""
        p = self.problem
        return {
            "type": f"urn:sabot-sql:problem:{p.code.lower().replace('_', '-')}",
            "title": p.title,
            "status": p.status,
            "detail": self.detail,
            "code": p.code,
            "sqlstate": p.sqlstate,
            "kind": p.kind,
            "retryable": self.retryable,
            "position": asdict(self.position) if self.position else None,
            "hint": self.hint,
            "query_id": self.query_id,
            "engine_message": self.engine_message,
        }

    @staticmethod
    def from_problem(problem: dict[str, Any], sql: str | None = None) -> SabotError:
        """The error that `to_problem` described, as the class that belongs to its code."""
        code = problem.get("code")
        cls = CLASS_OF_CODE.get(str(code), InternalError)
        position = problem.get("position")
        return cls(
            str(problem.get("detail") or problem.get("title") or "unknown error"),
            code=code if code in PROBLEMS else None,
            position=Position(**position) if position else None,
            hint=problem.get("hint"),
            query_id=problem.get("query_id"),
            engine_message=problem.get("engine_message"),
            retryable=bool(problem.get("retryable")),
            sql=sql,
        )


class QueryError(SabotError):
    """The user must change the query."""

    code, sqlstate, status, title = "BAD_REQUEST", "42000", 400, "Bad request"
    kind: ClassVar[Kind] = "user"


class ParseError(QueryError):
    """The text is not SQL."""

    code, sqlstate, title = "SYNTAX_ERROR", "42601", "Syntax error"


class PlanError(QueryError):
    """Unknown names, wrong types or a refused statement."""

    code, sqlstate, title = "BAD_REQUEST", "42000", "Statement refused"


class NotSupported(QueryError):
    """Valid SQL that this route or engine does not run."""

    code, sqlstate, title = "NOT_SUPPORTED", "0A000", "Not supported"


class ExecutionError(SabotError):
    """A valid query failed while it ran."""

    code, sqlstate, status, title = "EXECUTION_FAILED", "58000", 500, "Query failed"
    kind: ClassVar[Kind] = "system"


class AgentLost(ExecutionError):
    """An agent died or could not be reached."""

    code, sqlstate, title = "AGENT_LOST", "08006", "Agent lost"


class OutOfMemory(ExecutionError):
    """A memory limit was reached."""

    code, sqlstate, title = "OUT_OF_MEMORY", "53200", "Out of memory"
    kind: ClassVar[Kind] = "resource"


class ReadError(ExecutionError):
    """A data file is missing, changed or corrupt."""

    code, sqlstate, title = "FILE_CORRUPT", "58030", "File cannot be read"
    kind: ClassVar[Kind] = "external"


class QueryTimeout(ExecutionError):
    """The time limit was reached."""

    code, sqlstate, status, title = "QUERY_TIMEOUT", "57014", 408, "Query timed out"
    kind: ClassVar[Kind] = "resource"


class Cancelled(ExecutionError):
    """The query was cancelled."""

    code, sqlstate, status, title = "CANCELLED", "57014", 409, "Query cancelled"
    kind: ClassVar[Kind] = "cancelled"


class ServiceError(SabotError):
    """Configuration, connection or overload."""

    code, sqlstate, status, title = "SERVICE_ERROR", "58000", 503, "Service error"
    kind: ClassVar[Kind] = "system"


class ConfigError(ServiceError):
    """A setting is wrong or a resource of the configuration cannot be had."""

    code, sqlstate, status, title = "CONFIG_ERROR", "F0000", 500, "Configuration error"
    kind: ClassVar[Kind] = "user"


class ConnectionFailed(ServiceError):
    """The server could not be reached."""

    code, sqlstate, title = "CONNECTION_FAILED", "08001", "Cannot connect"


class Overloaded(ServiceError):
    """Too many queries at once; try again later."""

    code, sqlstate, status, title = "TOO_MANY_QUERIES", "53300", 429, "Too many queries"
    kind: ClassVar[Kind] = "resource"


class InternalError(SabotError):
    """A bug of ours."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One row of the contract's table of errors."""

    code: str
    sqlstate: str
    status: int
    title: str
    kind: Kind = "user"


PROBLEMS: dict[str, Problem] = {
    p.code: p
    for p in (
        Problem("NOT_SUPPORTED", "0A000", 400, "Not supported"),
        Problem("EMPTY_STATEMENT", "42601", 400, "Empty statement"),
        Problem("SYNTAX_ERROR", "42601", 400, "Syntax error"),
        Problem("UNDEFINED_TABLE", "42P01", 400, "Table not found"),
        Problem("UNDEFINED_COLUMN", "42703", 400, "Column not found"),
        Problem("UNDEFINED_FUNCTION", "42883", 400, "Function not found"),
        Problem("AMBIGUOUS_COLUMN", "42702", 400, "Column is ambiguous"),
        Problem("TYPE_MISMATCH", "42804", 400, "Types do not fit"),
        Problem("INVALID_PARAMETER", "22023", 400, "Invalid parameter"),
        Problem("INVALID_VALUE", "22000", 400, "Invalid value"),
        Problem("DIVISION_BY_ZERO", "22012", 400, "Division by zero"),
        Problem("MULTIPLE_STATEMENTS", "42601", 400, "Several statements"),
        Problem("BAD_REQUEST", "42000", 400, "Bad request"),
        Problem("UNAUTHENTICATED", "28000", 401, "Not authenticated"),
        Problem("PERMISSION_DENIED", "42501", 403, "Not permitted"),
        Problem("READ_ONLY", "25006", 403, "Read-only"),
        Problem("QUERY_NOT_FOUND", "42704", 404, "Query not found"),
        Problem("NOT_FOUND", "42704", 404, "Not found"),
        Problem("QUERY_NOT_FINISHED", "55000", 409, "Query not finished"),
        Problem("TABLE_EXISTS", "42P07", 409, "Table exists"),
        Problem("RESULT_EXPIRED", "55000", 410, "Result expired"),
        Problem("QUERY_TIMEOUT", "57014", 408, "Query timed out", "resource"),
        Problem("CANCELLED", "57014", 409, "Query cancelled", "cancelled"),
        Problem("BODY_TOO_LARGE", "54000", 413, "Body too large"),
        Problem("STATEMENT_TOO_LARGE", "54000", 413, "Statement too large"),
        Problem("STATEMENT_TOO_COMPLEX", "54001", 400, "Statement too complex"),
        Problem("RESULT_TOO_LARGE", "54000", 422, "Result too large"),
        Problem("IDEMPOTENCY_KEY_REUSED", "22023", 422, "Idempotency key reused"),
        Problem("NOT_ACCEPTABLE", "22023", 406, "Format not available"),
        Problem("RANGE_NOT_SATISFIABLE", "22023", 416, "Range not satisfiable"),
        Problem("TOO_MANY_QUERIES", "53300", 429, "Too many queries", "resource"),
        Problem("QUEUE_FULL", "53300", 503, "Queue full", "resource"),
        Problem("NO_AGENTS", "57P03", 503, "No agents", "resource"),
        Problem("SHUTTING_DOWN", "57P01", 503, "Shutting down", "system"),
        Problem("INTERNAL", "XX000", 500, "Internal error", "system"),
        Problem("EXECUTION_FAILED", "58000", 500, "Query failed", "system"),
        Problem("OUT_OF_MEMORY", "53200", 500, "Out of memory", "resource"),
        Problem("AGENT_LOST", "08006", 500, "Agent lost", "system"),
        Problem("EXTERNAL_SOURCE", "58030", 500, "Source failed", "external"),
        Problem("BLOCK_DAMAGED", "58030", 500, "Block damaged", "system"),
        Problem("FILE_CHANGED", "58030", 500, "File changed", "external"),
        Problem("FILE_MISSING", "58030", 500, "File missing", "external"),
        Problem("FILE_CORRUPT", "58030", 500, "File corrupt", "external"),
        Problem("SERVICE_ERROR", "58000", 503, "Service error", "system"),
        Problem("CONFIG_ERROR", "F0000", 500, "Configuration error"),
        Problem("CONNECTION_FAILED", "08001", 503, "Cannot connect", "system"),
    )
}

CLASS_OF_CODE: dict[str, type[SabotError]] = {
    "NOT_SUPPORTED": NotSupported,
    "SYNTAX_ERROR": ParseError,
    "EMPTY_STATEMENT": ParseError,
    "MULTIPLE_STATEMENTS": ParseError,
    "AGENT_LOST": AgentLost,
    "OUT_OF_MEMORY": OutOfMemory,
    "QUERY_TIMEOUT": QueryTimeout,
    "CANCELLED": Cancelled,
    "TOO_MANY_QUERIES": Overloaded,
    "QUEUE_FULL": Overloaded,
    "NO_AGENTS": ServiceError,
    "SHUTTING_DOWN": ServiceError,
    "SERVICE_ERROR": ServiceError,
    "CONFIG_ERROR": ConfigError,
    "CONNECTION_FAILED": ConnectionFailed,
    "INTERNAL": InternalError,
    "EXECUTION_FAILED": ExecutionError,
    **dict.fromkeys(("BLOCK_DAMAGED", "FILE_CHANGED", "FILE_MISSING", "FILE_CORRUPT", "EXTERNAL_SOURCE"), ReadError),
    **dict.fromkeys(
        (
            "UNDEFINED_TABLE",
            "UNDEFINED_COLUMN",
            "UNDEFINED_FUNCTION",
            "AMBIGUOUS_COLUMN",
            "TYPE_MISMATCH",
            "PERMISSION_DENIED",
            "READ_ONLY",
            "STATEMENT_TOO_COMPLEX",
        ),
        PlanError,
    ),
    **dict.fromkeys(
        (
            "BAD_REQUEST",
            "INVALID_PARAMETER",
            "INVALID_VALUE",
            "DIVISION_BY_ZERO",
            "STATEMENT_TOO_LARGE",
            "BODY_TOO_LARGE",
            "RESULT_TOO_LARGE",
            "UNAUTHENTICATED",
            "QUERY_NOT_FOUND",
            "NOT_FOUND",
            "QUERY_NOT_FINISHED",
            "TABLE_EXISTS",
            "RESULT_EXPIRED",
            "IDEMPOTENCY_KEY_REUSED",
            "NOT_ACCEPTABLE",
            "RANGE_NOT_SATISFIABLE",
        ),
        QueryError,
    ),
}
