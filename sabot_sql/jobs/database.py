"""The database of jobs: a SQLite file of one server, or a PostgreSQL that several servers share.

DBOS keeps the jobs in tables of its own. Beside them a PostgreSQL has the schema `sabot_sql`: the servers with their leases
(`servers.py`), how often a job was taken over and why one was given up, and the secret from which query ids are made.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sabot_sql.errors import ConfigError, ServiceError

if TYPE_CHECKING:
    import sqlalchemy as sa

CONNECT_S = 5
IDLE_S = 5.0
"""How long PostgreSQL leaves a transaction open in which nothing is asked: one of a server that was stopped would keep the
others from its jobs."""
SCHEMA_VERSION = "1"
INIT_LOCK, TAKEOVER_LOCK = 8600_01, 8600_02
"""Numbers of PostgreSQL's advisory locks: held while the schema is made, and while jobs of dead servers are looked for."""

TABLES = (
    "CREATE SCHEMA IF NOT EXISTS sabot_sql",
    "CREATE TABLE IF NOT EXISTS sabot_sql.meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS sabot_sql.servers (
        executor_id TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, version TEXT NOT NULL,
        started_at TIMESTAMPTZ NOT NULL DEFAULT now(), heartbeat_at TIMESTAMPTZ NOT NULL DEFAULT now())""",
    """CREATE TABLE IF NOT EXISTS sabot_sql.takeovers (
        query_id TEXT PRIMARY KEY, count INTEGER NOT NULL DEFAULT 0, reason TEXT, at TIMESTAMPTZ NOT NULL DEFAULT now())""",
)


@dataclass(frozen=True, slots=True)
class JobDatabase:
    """Where jobs are recorded.

    Attributes:
        path: the file, for SQLite.
        url: `postgresql://…`, for PostgreSQL.
        migrate: whether the schema is made and brought up to date when it is opened.
    """

    path: Path | None = None
    url: str = ""
    migrate: bool = True

    @property
    def shared(self) -> bool:
        """Whether several servers may use it."""
        return bool(self.url)

    @property
    def name(self) -> str:
        """For messages; without a password."""
        return self.sqlalchemy_url().render_as_string(hide_password=True) if self.shared else str(self.path)

    def exists(self) -> bool:
        """Whether there may be jobs in it."""
        return self.shared or (self.path is not None and self.path.exists())

    def sqlalchemy_url(self) -> sa.URL:
        """As SQLAlchemy takes it.

        Raises:
            ConfigError: the URL is none of PostgreSQL's.
        """
        import sqlalchemy as sa

        if not self.shared:
            return sa.URL.create("sqlite", database=str(self.path))
        try:
            url = sa.make_url(self.url)
        except sa.exc.ArgumentError:
            url = None
        if url is None or url.get_backend_name() not in ("postgresql", "postgres"):
            raise ConfigError(
                "durable.url is no address of a PostgreSQL database", hint="give postgresql://user:password@host:5432/database"
            )
        return url.set(drivername="postgresql+psycopg")

    def make_engine(self, connections: int = 16) -> sa.Engine:
        """Connections to it, `connections` of which are kept."""
        import sqlalchemy as sa

        if self.shared:
            engine = sa.create_engine(
                self.sqlalchemy_url(), pool_size=connections, max_overflow=4 * connections, pool_pre_ping=True,
                connect_args={"connect_timeout": CONNECT_S, "application_name": "sabot-sql", "keepalives_idle": 5,
                              "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000},
            )  # fmt: skip
            sa.event.listens_for(engine, "connect")(_tune_postgresql)
            return engine
        engine = sa.create_engine(self.sqlalchemy_url(), pool_size=connections, max_overflow=4 * connections)
        sa.event.listens_for(engine, "connect")(_tune_sqlite)
        return engine

    def open(self) -> uuid.UUID | None:
        """Make sure that a PostgreSQL can be used; gives the secret in it. Of SQLite nothing is asked: None.

        Raises:
            ConfigError: it cannot be reached, or its schema is missing and must not be made.
        """
        if not self.shared:
            return None
        import sqlalchemy as sa

        engine = self.make_engine(1)
        try:
            # each statement for itself: DBOS makes indexes that wait for the end of every transaction
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                if self.migrate:
                    self._make_schema(connection)
                return _secret(connection)
        except sa.exc.ProgrammingError as exc:
            raise ConfigError(
                f"the job database {self.name} has no schema of ours: {_first_line(exc)}", hint="run: sabot-sql init-db"
            ) from exc
        except sa.exc.SQLAlchemyError as exc:
            raise ConfigError(
                f"the job database {self.name} cannot be used: {_first_line(exc)}",
                hint="check durable.url, and that PostgreSQL runs and takes connections from here",
            ) from exc
        finally:
            engine.dispose()

    def _make_schema(self, connection: sa.Connection) -> None:
        """Make what is missing; servers that start at once wait for each other."""
        import sqlalchemy as sa
        from dbos import DBOS

        connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": INIT_LOCK})
        try:
            DBOS.migrate(self.sqlalchemy_url().set(drivername="postgresql").render_as_string(hide_password=False))
            for statement in TABLES:
                connection.execute(sa.text(statement))
            for key, value in (("secret", str(uuid.uuid4())), ("schema_version", SCHEMA_VERSION)):
                connection.execute(
                    sa.text("INSERT INTO sabot_sql.meta VALUES (:key, :value) ON CONFLICT DO NOTHING"),
                    {"key": key, "value": value},
                )
        finally:
            connection.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": INIT_LOCK})


def _secret(connection: sa.Connection) -> uuid.UUID:
    import sqlalchemy as sa

    found = {row[0]: row[1] for row in connection.execute(sa.text("SELECT key, value FROM sabot_sql.meta"))}
    if found.get("schema_version") != SCHEMA_VERSION or "secret" not in found:
        raise ConfigError(
            f"the job database has schema version {found.get('schema_version')}, and this release works with {SCHEMA_VERSION}",
            hint="run `sabot-sql init-db` of this release, or use the release that made it",
        )
    return uuid.UUID(found["secret"])


def away(exc: Exception, what: str, query_id: str | None = None) -> ServiceError:
    """What somebody is told whose call the database did not answer; to be tried again where it was not there.

    Args:
        what: could not be done, as in "the job database cannot be written".
    """
    import sqlalchemy as sa

    retryable = isinstance(exc, sa.exc.OperationalError | sa.exc.InterfaceError)
    hint = "try again when the database is back" if retryable else None
    said = f"{what}: {type(exc).__name__}: {_first_line(exc)}"
    return ServiceError(said, query_id=query_id, retryable=retryable, hint=hint)


def _first_line(exc: Exception) -> str:
    return str(getattr(exc, "orig", None) or exc).strip().splitlines()[0]


def _tune_postgresql(connection: Any, _record: Any) -> None:
    connection.execute(f"SET idle_in_transaction_session_timeout = {int(IDLE_S * 1e3)}")
    connection.commit()


def _tune_sqlite(connection: Any, _record: Any) -> None:
    """SQLite as DBOS needs it to be fast: a write-ahead log, flushed at its checkpoints only (a power cut may lose the last
    jobs, a killed process loses none)."""
    connection.isolation_level = "IMMEDIATE"
    for setting in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {setting}")
