"""The commands that show and steer the engine: plans, agents, queries in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from sabot_sql.client.progress_line import ProgressLine
from sabot_sql.engine.request import QueryStatus, State
from sabot_sql.errors import QueryError
from sabot_sql.shell.command import Command, listing

if TYPE_CHECKING:
    from sabot_sql.client.options import QueryOptions
    from sabot_sql.engine.request import Explanation
    from sabot_sql.shell.shell import Shell

STATES = ("queued", "planning", "running", "finishing", "finished", "failed", "cancelled", "expired")
OPEN = frozenset(("queued", "planning", "running", "finishing"))
SHOWN_JOBS = 20


def agents(shell: Shell, argument: str, plus: bool) -> None:
    """`\\agents`."""
    names = ("id", "state", "pid", "slots", "tasks_done", "tasks_failed", "flight_uri")
    listing(shell, shell.connection.agents(), (*names, "host", "started_at") if plus else names)


def jobs(shell: Shell, argument: str, plus: bool) -> None:
    """`\\jobs`: the last queries, on demand those in a state."""
    if argument and argument not in STATES:
        raise QueryError(f"{argument!r} is no state; there are {', '.join(STATES)}")
    rows = [_job_row(s) for s in shell.connection.list_jobs(cast("State | None", argument or None), limit=SHOWN_JOBS)]
    listing(shell, rows, ("query_id", "state", "route", "tasks", "elapsed_ms", "sql"))


def _job_row(status: QueryStatus) -> dict[str, Any]:
    return {
        "query_id": status.query_id,
        "state": status.state,
        "route": status.route,
        "tasks": f"{status.progress.tasks_done}/{status.progress.tasks}" if status.progress.tasks else None,
        "elapsed_ms": round(status.stats["elapsed_ms"], 1) if "elapsed_ms" in status.stats else None,
        "sql": " ".join(status.sql.split())[:60],
    }


def job(shell: Shell, argument: str, plus: bool) -> None:
    """`\\job`: all that is known of a query."""
    status = shell.connection.job(_id(shell, argument, "job")).status()
    for name in ("query_id", "state", "route", "reason", "user", "submitted_at", "started_at", "finished_at"):
        if (value := getattr(status, name)) not in (None, ""):
            shell.say(f"{name:<13} {value}")
    done = status.progress
    if done.tasks:
        shell.say(f"{'progress':<13} stages {done.stages_done}/{done.stages}, tasks {done.tasks_done}/{done.tasks}")
    for name, value in status.stats.items():
        shell.say(f"{name:<13} {value}")
    if status.error is not None:
        shell.say(f"{'error':<13} {status.error.problem.code}: {status.error.detail}")
    shell.say(f"{'sql':<13} {status.sql}")


def submit(shell: Shell, argument: str, plus: bool) -> None:
    """`\\submit`: starts a statement in the background."""
    sql = argument or shell.rest.strip() or shell.last
    shell.rest = ""
    if not sql:
        raise QueryError("which statement? \\submit SELECT …")
    started = shell.connection.submit(shell.filled_in(sql), shell.take_bound(), **shell.options())
    shell.last_job = started.query_id
    shell.say(f"{started.query_id}: submitted; \\attach waits for its answer")


def attach(shell: Shell, argument: str, plus: bool) -> None:
    """`\\attach`: waits for a query and shows its answer; Ctrl-C leaves it running."""
    found = shell.connection.job(_id(shell, argument, "attach"))
    try:
        with ProgressLine(shell.err) as progress:
            found.wait(progress=progress)
    except KeyboardInterrupt:
        shell.say(f"{found.query_id}: goes on; \\cancel ends it")
        return
    shell.show(found.result())


def cancel(shell: Shell, argument: str, plus: bool) -> None:
    """`\\cancel`."""
    status = shell.connection.job(_id(shell, argument, "cancel")).cancel()
    shell.say(f"{status.query_id}: {status.state}")


def _id(shell: Shell, argument: str, command: str) -> str:
    """The query that is meant: that of the id, or the last that was submitted here."""
    if not argument and shell.last_job is None:
        raise QueryError(f"which query? \\{command} ID; \\jobs lists them")
    return argument or str(shell.last_job)


def explain(shell: Shell, argument: str, plus: bool) -> None:
    """`\\explain`: route, reason and plan."""
    first, _, rest = argument.partition(" ")
    analyze = first.lower() == "analyze"
    shell.say(_explanation(shell, rest if analyze else argument, analyze).text)


def plan(shell: Shell, argument: str, plus: bool) -> None:
    """`\\plan`: the stages of the plan; with `+` the logical one too."""
    found = _explanation(shell, argument, False)
    shell.say(f"route     {found.route}: {found.reason}")
    if plus and found.logical:
        shell.say(found.logical)
    shell.say(found.physical or "the local engine plans it by itself; \\route distributed shows the stages")


def _explanation(shell: Shell, argument: str, analyze: bool) -> Explanation:
    sql = argument.strip() or shell.rest.strip() or shell.last
    if not sql:
        raise QueryError("nothing to explain: \\explain SELECT …, or run a statement first")
    options: QueryOptions = shell.options()
    return shell.connection.explain(shell.filled_in(sql), analyze=analyze, **options)


def status(shell: Shell, argument: str, plus: bool) -> None:
    """`\\status`: the engine, its agents, its queries and what is set here."""
    info = shell.connection.info()
    found = shell.connection.agents()
    alive = sum(agent.get("state") == "alive" for agent in found)
    running = [s for s in shell.connection.list_jobs(limit=200) if s.state in OPEN]
    lines = {
        "connected to": shell.connection.url.removesuffix(":"),
        "version": f"sabot-sql {info.get('version', '')}",
        "engines": ", ".join(f"{n} {v}" for n, v in (info.get("engines") or {}).items()),
        "cores": info.get("cores"),
        "tables": len(shell.connection.tables()),
        "agents": f"{alive} alive of {len(found)}" if found else "none",
        "queries": f"{len(running)} open",
        "route": shell.route,
        "threshold": "that of the engine" if shell.threshold is None else shell.threshold,
        "format": shell.display.format,
    }
    for name, value in lines.items():
        shell.say(f"{name:<13} {value}")


COMMANDS: dict[str, Command] = {
    "explain": Command(explain, "[analyze] [SQL]", "where a statement would run, why, and its plan; analyze runs it", "tables"),
    "plan": Command(plan, "[SQL]", "the stages of its distributed plan", "tables", plus=True),
    "agents": Command(agents, "", "the agents", plus=True),
    "jobs": Command(jobs, "[STATE]", "the last queries"),
    "job": Command(job, "[ID]", "what is known of a query"),
    "submit": Command(submit, "[SQL]", "start a statement in the background", "tables"),
    "attach": Command(attach, "[ID]", "wait for a query in the background and show its answer"),
    "cancel": Command(cancel, "[ID]", "cancel a query; without an id the last that was submitted here"),
    "status": Command(status, "", "engine, agents, queries and what is set"),
}
