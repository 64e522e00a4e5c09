"""The commands that begin with a backslash."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sabot_sql.client.display import print_table
from sabot_sql.errors import ConfigError, QueryError
from sabot_sql.shell.result_file import ResultFile

if TYPE_CHECKING:
    from sabot_sql.shell.shell import Shell

SWITCH = {"on": True, "off": False}
ROUTES = ("auto", "local", "distributed")


class Leave(Exception):
    """The user wants to go."""


def run_command(shell: Shell, line: str) -> None:
    """Runs a line such as `\\d trips`.

    Raises:
        QueryError: no such command, or not with this argument.
        Leave: `\\q`.
    """
    name, _, argument = line[1:].strip().rstrip(";").partition(" ")
    if name not in COMMANDS:
        raise QueryError(f"there is no command \\{name}", hint="\\? lists them")
    COMMANDS[name][0](shell, argument.strip())


def _describe(shell: Shell, argument: str) -> None:
    if not argument or "*" in argument or "?" in argument:
        _tables(shell, argument)
        return
    table = shell.connection.table(argument)
    rows = f"{table['rows']:,}" if table.get("rows") is not None else "unknown"
    shell.say(
        f"Table {table['name']} ({table.get('format')}, {rows} rows, {table.get('files')} files, {table.get('location')})"
    )
    names = ("name", "sql_type", "null_count", "min", "max")
    _list(shell, table["columns"], names, ("column", "type", "nulls", "min", "max"))


def _tables(shell: Shell, argument: str) -> None:
    pattern = (argument or "*").lower()
    found = [t for t in shell.connection.tables() if fnmatch.fnmatchcase(str(t["name"]).lower(), pattern)]
    _list(shell, sorted(found, key=lambda t: str(t["name"])), ("name", "format", "rows", "row_count_kind", "bytes", "files"))


def _agents(shell: Shell, argument: str) -> None:
    _list(shell, shell.connection.agents(), ("id", "state", "pid", "slots", "tasks_done", "tasks_failed", "flight_uri"))


def _jobs(shell: Shell, argument: str) -> None:
    rows = [
        {
            "query_id": s.query_id,
            "state": s.state,
            "route": s.route,
            "tasks": f"{s.progress.tasks_done}/{s.progress.tasks}" if s.progress.tasks else None,
            "elapsed_ms": round(s.stats["elapsed_ms"], 1) if "elapsed_ms" in s.stats else None,
            "sql": " ".join(s.sql.split())[:60],
        }
        for s in shell.connection.list_jobs(limit=20)
    ]
    _list(shell, rows, ("query_id", "state", "route", "tasks", "elapsed_ms", "sql"))


def _cancel(shell: Shell, argument: str) -> None:
    if not argument:
        raise QueryError("which query? \\cancel ID; \\jobs lists them")
    status = shell.connection.job(argument).cancel()
    shell.say(f"{status.query_id}: {status.state}")


def _explain(shell: Shell, argument: str) -> None:
    sql = argument or shell.last
    if not sql:
        raise QueryError("nothing to explain: \\explain SELECT …, or run a statement first")
    analyze, _, rest = sql.partition(" ")
    if analyze.lower() == "analyze":
        sql = rest or shell.last or ""
    found = shell.connection.explain(
        sql, analyze=analyze.lower() == "analyze", route=shell.route, threshold=shell.threshold, engine=shell.engine
    )
    shell.say(found.text)


def _timing(shell: Shell, argument: str) -> None:
    shell.timing = _switch(argument, shell.timing)
    shell.say(f"timing is {'on' if shell.timing else 'off'}")


def _expanded(shell: Shell, argument: str) -> None:
    shell.expanded = _switch(argument, shell.expanded)
    shell.say(f"expanded display is {'on' if shell.expanded else 'off'}")


def _switch(argument: str, now: bool) -> bool:
    if argument and argument not in SWITCH:
        raise QueryError(f"{argument!r} is neither on nor off")
    return SWITCH.get(argument, not now)


def _route(shell: Shell, argument: str) -> None:
    match argument:
        case "auto" | "local" | "distributed":
            shell.route = argument
        case "":
            pass
        case _:
            raise QueryError(f"{argument!r} is no route; there are {', '.join(ROUTES)}")
    shell.say(f"route is {shell.route}")


def _include(shell: Shell, argument: str) -> None:
    if not argument:
        raise QueryError("which file? \\i FILE")
    try:
        shell.run_file(Path(argument).expanduser())
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{argument} cannot be read: {exc}") from exc


def _output(shell: Shell, argument: str) -> None:
    shell.close()
    if argument:
        shell.target = ResultFile(Path(argument).expanduser())


def _connection_info(shell: Shell, argument: str) -> None:
    info = shell.connection.info()
    engines = ", ".join(f"{name} {version}" for name, version in (info.get("engines") or {}).items())
    where = shell.connection.url.removesuffix(":")
    shell.say(f"connected to {where}: sabot-sql {info.get('version', '')} ({engines}); route {shell.route}")


def _help(shell: Shell, argument: str) -> None:
    seen: dict[str, list[str]] = {}
    for name, (_, text) in COMMANDS.items():
        seen.setdefault(text, []).append(f"\\{name}")
    shell.say("Statements end with ; and may span lines. Ctrl-C cancels the query that runs, Ctrl-D leaves.")
    for text, names in seen.items():
        shell.say(f"  {', '.join(names):<16} {text}")


def _leave(shell: Shell, argument: str) -> None:
    raise Leave


def _list(shell: Shell, rows: list[Any], names: tuple[str, ...], headings: tuple[str, ...] | None = None) -> None:
    columns = []
    for name in names:
        values = [row.get(name) for row in rows]
        mixed = len({type(v) for v in values if v is not None}) > 1
        columns.append(pa.array([None if v is None else str(v) for v in values] if mixed else values))
    print_table(pa.table(columns, names=list(headings or names)), shell.out)


COMMANDS: dict[str, tuple[Callable[[Shell, str], None], str]] = {
    "d": (_describe, "tables; \\d NAME: the columns of a table"),
    "dt": (_tables, "tables; \\dt PATTERN: those whose names match (*, ?)"),
    "explain": (_explain, "where a statement would run, why, and its plan; \\explain analyze runs it; without SQL: the last"),
    "route": (_route, "where statements go: auto, local or distributed"),
    "mode": (_route, "where statements go: auto, local or distributed"),
    "timing": (_timing, "the time under results, on or off"),
    "x": (_expanded, "a field a line, on or off"),
    "agents": (_agents, "the agents"),
    "jobs": (_jobs, "the last queries"),
    "cancel": (_cancel, "cancel the query of an id"),
    "i": (_include, "run the statements of a file"),
    "o": (_output, "send results to a file (.csv .ndjson .json .parquet .arrow, else tables); without a name: to the screen"),
    "conninfo": (_connection_info, "what the shell is connected to"),
    "?": (_help, "this"),
    "help": (_help, "this"),
    "h": (_help, "this"),
    "q": (_leave, "leave"),
    "quit": (_leave, "leave"),
}
