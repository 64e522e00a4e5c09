"""DB-API connections."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from sabot_sql.client.connection import Connection as Client
from sabot_sql.client.connection import connect as connect_client
from sabot_sql.client.options import QueryOptions
from sabot_sql.dbapi import errors
from sabot_sql.dbapi.cursor import Cursor
from sabot_sql.dbapi.errors import InterfaceError, NotSupportedError, translated

URLS = ("http://", "https://", "embedded:")


def connect(target: Any = "embedded:", **options: Any) -> Connection:
    """Opens a connection.

    Args:
        target: the address of a server (`http://host:8600`), `embedded:` or `embedded:///state_folder`; or the data of an
            engine in this process: a folder, a file, a mapping of names to sources; or a `sabot_sql.Connection`, which stays
            open when this one is closed.
        options: those of `sabot_sql.connect` (api_key, num_local_agents, ...), and as defaults for statements those of
            `execute_sql` (route, timeout_s, timezone, ...).

    Raises:
        OperationalError: there is no engine or server to be had that way.
        InterfaceError: an option that does not exist or does not fit the target.
    """
    own = {name: options.pop(name) for name in list(options) if name in QueryOptions.__annotations__}
    known = inspect.signature(connect_client).parameters
    if unknown := [name for name in options if name not in known or name == "url"]:
        raise InterfaceError(f"connect has no argument {unknown[0]}")
    with translated():
        if isinstance(target, Client):
            if options:
                raise InterfaceError(f"{next(iter(options))} is for a connection that is opened; this one is open")
            return Connection(target, own, owned=False)
        if isinstance(target, str) and target.startswith(URLS):
            return Connection(connect_client(target, **options), own)
        if "data" in options:
            raise InterfaceError("the data is given twice, as the target and as data=")
        return Connection(connect_client(data=str(target) if isinstance(target, Path) else target, **options), own)


class Connection:
    """A DB-API connection. Threads may share it, each with cursors of its own; a context manager that closes at its end.

    Attributes:
        options: of `execute_sql`, for statements that do not say.
    """

    Warning = errors.Warning
    Error = errors.Error
    InterfaceError = errors.InterfaceError
    DatabaseError = errors.DatabaseError
    DataError = errors.DataError
    OperationalError = errors.OperationalError
    IntegrityError = errors.IntegrityError
    InternalError = errors.InternalError
    ProgrammingError = errors.ProgrammingError
    NotSupportedError = errors.NotSupportedError

    def __init__(self, opened: Client, options: dict[str, Any] | None = None, owned: bool = True) -> None:
        self.options = options or {}
        self._client: Client | None = opened
        self._owned = owned

    @property
    def client(self) -> Client:
        """The `sabot_sql.Connection` behind this one: tables, jobs, agents."""
        if self._client is None:
            raise InterfaceError("this connection is closed")
        return self._client

    def check_open(self) -> None:
        """Raises InterfaceError when the connection is closed."""
        if self._client is None:
            raise InterfaceError("this connection is closed")

    @property
    def closed(self) -> bool:
        """Whether it is."""
        return self._client is None

    def cursor(self) -> Cursor:
        """A new cursor."""
        self.check_open()
        return Cursor(self)

    def execute(self, sql: str, parameters: Any = None, **options: Any) -> Cursor:
        """A new cursor that has executed `sql`."""
        return self.cursor().execute(sql, parameters, **options)

    def commit(self) -> None:
        """Does nothing: a statement stands for itself, and has happened when it has been executed."""
        self.check_open()

    def rollback(self) -> None:
        """Does nothing: no transaction is ever open, so there is nothing to take back."""
        self.check_open()

    @property
    def autocommit(self) -> bool:
        """True, and not to be changed.

        Raises:
            NotSupportedError: when it is set to False.
        """
        return True

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        if not value:
            raise NotSupportedError("there are no transactions: every statement stands for itself")

    def close(self) -> None:
        """Closes the connection, and the engine behind an embedded one. Closing twice does no harm."""
        opened, self._client = self._client, None
        if opened is not None and self._owned:
            with translated():
                opened.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection {'(closed)' if self._client is None else self._client.url}>"
