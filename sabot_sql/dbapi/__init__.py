"""PEP 249: the DB-API 2.0 module of sabot-sql, over an engine in this process or a server.

Statements take `?` and `$1` with a sequence, `$name` with a mapping. Every statement stands for itself: nothing is ever open
that `commit` could keep or `rollback` undo. Beside the methods of PEP 249 a cursor has those of ADBC, which give Arrow.

Example:
    >>> from sabot_sql import dbapi
    >>> with dbapi.connect({}, num_local_agents=0) as connection, connection.cursor() as cursor:
    ...     cursor.execute("SELECT ? + 1 AS n, 'x' AS letter", [41]).fetchall()
    [(42, 'x')]
"""

from __future__ import annotations

from sabot_sql.dbapi.connection import Connection, connect
from sabot_sql.dbapi.cursor import Cursor
from sabot_sql.dbapi.errors import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,
)
from sabot_sql.dbapi.type_objects import (
    BINARY,
    DATETIME,
    NUMBER,
    ROWID,
    STRING,
    Binary,
    Date,
    DateFromTicks,
    Time,
    TimeFromTicks,
    Timestamp,
    TimestampFromTicks,
)

apilevel = "2.0"
threadsafety = 2  # threads may share the module and connections
paramstyle = "qmark"

__all__ = [
    "BINARY", "DATETIME", "NUMBER", "ROWID", "STRING", "Binary", "Connection", "Cursor", "DataError", "DatabaseError", "Date",
    "DateFromTicks", "Error", "IntegrityError", "InterfaceError", "InternalError", "NotSupportedError", "OperationalError",
    "ProgrammingError", "Time", "TimeFromTicks", "Timestamp", "TimestampFromTicks", "Warning", "apilevel", "connect",
    "paramstyle", "threadsafety",
]  # fmt: skip
