"""`sabot-sql doctor`: looks at everything that a server needs, and says what is wrong and what to do."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sabot_sql.errors import SabotError
from sabot_sql.version import __version__

if TYPE_CHECKING:
    from sabot_sql.cli.settings import ProcessSettings
    from sabot_sql.client.connection import Connection
    from sabot_sql.engine.request import Route

PACKAGES = ("duckdb", "datafusion", "pyarrow", "numba", "sqlglot", "dbos", "fastapi", "uvicorn", "pydantic")
SHARED_MEMORY = Path("/dev/shm")
LOW_SHARED_BYTES, LOW_DISK_BYTES, LOW_MEMORY_BYTES, LOW_FILES = 256 << 20, 2 << 30, 1 << 30, 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found: `ok`, `note` for what works and could be better, or `bad`."""

    name: str
    mark: str
    text: str


@click.command()
@click.option("--data", metavar="PATH", help="Folder, file or DuckDB database; else the setting data.")
def doctor(data: str | None) -> None:
    """Check this installation, and print a report for a colleague or an issue.

    Looks at versions, memory, disk, limits, settings, data and job database, then starts an engine with its agents and asks it
    a query on each route. Exit status 1 where something does not work.
    """
    bad = 0
    for finding in findings(data):
        click.echo(f"{finding.mark:4}  {finding.name:16}  {finding.text}")
        bad += finding.mark == "bad"
    click.echo(f"\n{bad} of these must be mended" if bad else "\nall is well", err=True)
    if bad:
        raise click.exceptions.Exit(1)


def findings(data: str | None) -> Iterator[Finding]:
    """All findings, as they come."""
    yield Finding("sabot-sql", "ok", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield Finding("packages", *versions())
    yield Finding("memory", *memory())
    yield Finding("shared memory", *shared_memory())
    yield Finding("open files", *open_files())
    try:
        from sabot_sql.cli.settings import load_settings

        settings = load_settings({"data": data})
    except SabotError as error:
        yield Finding("settings", "bad", one_line(error))
        return
    yield Finding("settings", *sources_of(settings))
    yield Finding("kernel cache", *kernels())
    for name, folder in folders(settings):
        yield Finding(name, *room(folder))
    if settings.durable.url:
        yield Finding("job database", *attempt(lambda: database(settings)))
    yield from engine(settings)


def attempt(look: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    """What a look found, its error too."""
    try:
        return look()
    except SabotError as error:
        return "bad", one_line(error)


def one_line(error: SabotError) -> str:
    """An error with its hint."""
    return f"{error.detail}; {error.hint}" if error.hint else error.detail


def versions() -> tuple[str, str]:
    """The packages that are used."""
    import importlib.metadata

    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    text = ", ".join(found)
    return ("note", f"{text}; not installed: {', '.join(missing)}") if missing else ("ok", text)


def memory() -> tuple[str, str]:
    """Processors and memory for this process."""
    from sabot_sql.agents.machine_memory import machine_memory
    from sabot_sql.config import cores

    total, available = machine_memory()
    text = f"{cores()} processors, {total / 2**30:.1f} GiB, {available / 2**30:.1f} GiB available"
    return ("note", f"{text}: little for large queries") if available < LOW_MEMORY_BYTES else ("ok", text)


def shared_memory() -> tuple[str, str]:
    """Where agents on this machine hand rows over."""
    if not SHARED_MEMORY.is_dir():
        return "note", f"{SHARED_MEMORY} is not there: agents hand rows over by files on disk"
    free = shutil.disk_usage(SHARED_MEMORY).free
    text = f"{free / 2**20:,.0f} MiB free in {SHARED_MEMORY}"
    if free >= LOW_SHARED_BYTES:
        return "ok", text
    return "note", f"{text}: more of it makes exchanges faster (docker run --shm-size=1g)"


def open_files() -> tuple[str, str]:
    """How many files and connections the process may have."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = "any number" if hard == resource.RLIM_INFINITY else f"{hard:,}"
    text = f"{soft:,} now, {most} at most"
    enough = hard == resource.RLIM_INFINITY or hard >= LOW_FILES
    return ("ok", text) if enough else ("note", f"{text}: each client of a server takes one (ulimit -n)")


def sources_of(settings: ProcessSettings) -> tuple[str, str]:
    """Where the settings are from."""
    from sabot_sql.cli.config_file import config_file
    from sabot_sql.cli.settings import sources

    changed = [name for name, _, source in sources(settings) if source != "default"]
    file = config_file()
    text = f"file {file}" if file else "no configuration file"
    return "ok", f"{text}; not default: {', '.join(changed) or 'none'}"


def kernels() -> tuple[str, str]:
    """The folder of compiled kernels."""
    from sabot_sql.config import kernel_cache_dir

    folder = kernel_cache_dir()
    mark, text = room(folder)
    if mark == "ok" and not any(folder.rglob("*.nbi")):
        return "note", f"{folder}, empty: the first distributed query compiles for some 15 s"
    return mark, text


def folders(settings: ProcessSettings) -> Iterator[tuple[str, Path]]:
    """The folders that are written to."""
    if settings.state_dir:
        yield "state folder", Path(settings.state_dir).expanduser()
    yield "spill folder", Path(settings.agents.spill_dir or tempfile.gettempdir()).expanduser()
    if settings.durable.results_dir:
        yield "results folder", Path(settings.durable.results_dir).expanduser()


def room(folder: Path) -> tuple[str, str]:
    """Whether a folder, or the nearest above it that there is, can be written to, and how much room there is."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return "bad", f"{there} cannot be written to by this user"
    free = shutil.disk_usage(there).free
    text = f"{folder}, {free / 2**30:,.1f} GiB free"
    return ("note", f"{text}: little for large queries") if free < LOW_DISK_BYTES else ("ok", text)


def database(settings: ProcessSettings) -> tuple[str, str]:
    """The PostgreSQL that keeps jobs."""
    from dataclasses import replace

    import sqlalchemy as sa

    from sabot_sql.jobs.database import JobDatabase

    found = replace(JobDatabase(url=settings.to_durable().url), migrate=False)
    found.open()
    engine = found.make_engine(1)
    try:
        with engine.connect() as connection:
            begin_s = time.perf_counter()
            version = connection.scalar(sa.text("SHOW server_version"))
            took_ms = (time.perf_counter() - begin_s) * 1e3
    finally:
        engine.dispose()
    return "ok", f"{found.name}, PostgreSQL {version}, {took_ms:.1f} ms to an answer"


def engine(settings: ProcessSettings) -> Iterator[Finding]:
    """An engine with the data and the agents of the settings, for a moment; it keeps no state."""
    from dataclasses import replace

    from sabot_sql.client.connection import Connection
    from sabot_sql.client.embedded import start_embedded
    from sabot_sql.config import DurableSettings

    wanted = replace(settings.to_settings(), state_dir=None, durable=DurableSettings())
    try:
        connection = Connection(start_embedded(wanted, settings.data, True), "embedded:")
    except SabotError as error:
        yield Finding("data", "bad", one_line(error))
        return
    with connection:
        yield Finding("data", *attempt(lambda: tables_of(connection, settings.data)))
        yield Finding("local route", *attempt(lambda: asked(connection, "local")))
        if wanted.agents.provider != "local":
            yield Finding("agents", "note", f"those of provider {wanted.agents.provider} are not started from here")
        elif not wanted.agents.count:
            yield Finding("agents", "note", "none are wanted (agents.count): every query runs locally")
        else:
            yield Finding("agents", *attempt(lambda: asked(connection, "distributed")))


def tables_of(connection: Connection, data: str | None) -> tuple[str, str]:
    """The tables of the data."""
    if data is None:
        return "note", "none is named: --data, or the setting data"
    tables, skipped = connection.tables(), connection.skipped()
    broken = [f"{table['name']} ({table['error']})" for table in tables if table.get("error")]
    if broken:
        return "bad", f"{data}: cannot be read: {'; '.join(broken)}"
    text = f"{data}: {len(tables)} tables"
    return ("note", f"{text}; not read: {', '.join(skipped[:5])}") if skipped or not tables else ("ok", text)


def asked(connection: Connection, route: Route) -> tuple[str, str]:
    """How long a route takes to its first answer, and to the next."""
    took_ms = []
    for number in range(2):
        begin_s = time.perf_counter()
        sql = f"SELECT sum(range) + {number} AS s FROM range(1000)"
        answer = connection.execute_sql(sql, route=route, timeout_s=60)
        assert answer.scalar() == 499_500 + number
        took_ms.append((time.perf_counter() - begin_s) * 1e3)
    first, second = took_ms
    return "ok", f"{second:.0f} ms to an answer, {first:,.0f} ms to the first"
