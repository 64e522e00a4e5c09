"""The dialect `sabot`."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import ConnectArgsType, DBAPIConnection, DBAPICursor, ExecutionContext
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import Pool, QueuePool, StaticPool

from sabot_sql.dbapi.errors import translated
from sabot_sql.sqlalchemy.column_types import COLSPECS
from sabot_sql.sqlalchemy.compilation import SabotCompiler, SabotIdentifierPreparer, SabotTypeCompiler
from sabot_sql.sqlalchemy.engine_url import connect_arguments
from sabot_sql.sqlalchemy.reflection import DEFAULT_SCHEMA, Reflection

OPTION_PREFIX = "sabot_"


class SabotDialect(Reflection):
    """Reads and, where the engine lets it, writes through `sabot_sql.dbapi`. It has no transactions, no constraints, no UPDATE
    and no DELETE.

    Execution options named `sabot_...` are options of the query: `execution_options(sabot_route="distributed")`.
    """

    name = "sabot"
    driver = "sabot_sql"
    statement_compiler = SabotCompiler
    type_compiler_cls = SabotTypeCompiler
    preparer = SabotIdentifierPreparer
    colspecs = COLSPECS

    # `$1` can be said twice: GROUP BY knows the expression of the select list again
    default_paramstyle = "numeric_dollar"
    supports_statement_cache = True
    supports_native_boolean = True
    supports_native_decimal = True
    supports_native_uuid = True
    supports_is_distinct_from = True
    supports_simple_order_by_label = True
    tuple_in_values = True
    div_is_floordiv = False
    max_identifier_length = 9999

    supports_alter = False
    supports_comments = False
    supports_sequences = False
    supports_default_values = False
    supports_empty_insert = False
    supports_multivalues_insert = True
    supports_sane_rowcount = False
    supports_sane_multi_rowcount = False
    postfetch_lastrowid = False
    use_insertmanyvalues = True  # each INSERT is a file: many rows go into one
    use_insertmanyvalues_wo_returning = True
    insertmanyvalues_page_size = 10_000

    _backslash_escapes = False
    _supports_jsonb_subscripting = False

    def __init__(
        self,
        json_serializer: Callable[[Any], str] | None = None,
        json_deserializer: Callable[[str], Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**{"paramstyle": self.default_paramstyle, **options})
        self._json_serializer = json_serializer
        self._json_deserializer = json_deserializer

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        """The DB-API module."""
        from sabot_sql import dbapi

        return dbapi

    @classmethod
    def get_pool_class(cls, url: URL) -> type[Pool]:
        """One engine for all threads where it is in this process; a few connections to a server."""
        return StaticPool if url.host is None else QueuePool

    def create_connect_args(self, url: URL) -> ConnectArgsType:
        """Arguments of `dbapi.connect`."""
        target, options = connect_arguments(url)
        return [target], options

    def do_execute(self, cursor: DBAPICursor, statement: str, parameters: Any, context: ExecutionContext | None = None) -> None:
        """Runs a statement, with the execution options that are the query's."""
        given = context.execution_options if context is not None else {}
        options = {k.removeprefix(OPTION_PREFIX): v for k, v in given.items() if k.startswith(OPTION_PREFIX)}
        cursor.execute(statement, parameters or None, **options)

    def do_ping(self, dbapi_connection: DBAPIConnection) -> bool:
        """Whether the engine or server answers."""
        dbapi_connection.cursor().execute("SELECT 1")
        return True

    def is_disconnect(self, e: Exception, connection: Any, cursor: Any) -> bool:
        """Whether the connection is of no more use: it was closed. A server is asked anew by every statement."""
        return connection is not None and bool(getattr(connection, "closed", False))

    def get_isolation_level_values(self, dbapi_connection: DBAPIConnection) -> list[Any]:
        """AUTOCOMMIT alone."""
        return ["AUTOCOMMIT"]

    def get_isolation_level(self, dbapi_connection: DBAPIConnection) -> Any:
        """AUTOCOMMIT."""
        return "AUTOCOMMIT"

    def get_default_isolation_level(self, dbapi_conn: DBAPIConnection) -> Any:
        """AUTOCOMMIT."""
        return "AUTOCOMMIT"

    def set_isolation_level(self, dbapi_connection: DBAPIConnection, level: Any) -> None:
        """There is nothing to set.

        Raises:
            ArgumentError: for another than AUTOCOMMIT.
        """
        if level != "AUTOCOMMIT":
            raise ArgumentError(f"{level} is not to be had: every statement stands for itself (AUTOCOMMIT)")

    def _get_server_version_info(self, connection: Connection) -> tuple[int, ...]:
        with translated():
            info = connection.connection.dbapi_connection.client.info()  # type: ignore[union-attr]
        return tuple(int(part) for part in str(info.get("version", "0")).split(".") if part.isdigit())

    def _get_default_schema_name(self, connection: Connection) -> str:
        return DEFAULT_SCHEMA

    def _check_max_identifier_length(self, connection: Connection) -> None:
        return None
