"""The metrics of a server as text: Prometheus's format, or OpenMetrics for those who ask for it."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, get_args

from sabot_sql import __version__
from sabot_sql.agents.info import AgentState
from sabot_sql.engine.request import AgentInfo, State
from sabot_sql.jobs.manager import JobManager
from sabot_sql.jobs.tally import BOUNDS_S, Counts, Durations, Load

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
STARTED_S = time.time()
ACTIVE_STATES: tuple[State, ...] = ("queued", "planning", "running", "finishing")

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One line: what is added to the family's name, the labels and the value."""

    suffix: str
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """One metric; the name of a counter stands without `_total`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: tuple[Sample, ...]


def write_metrics(families: Iterable[Family], openmetrics: bool = False) -> str:
    """The families as text.

    Example:
        >>> print(write_metrics([counter("tasks", "Tasks done.", {(): 3})]), end="")
        # HELP tasks_total Tasks done.
        # TYPE tasks_total counter
        tasks_total 3
    """
    lines = []
    for family in families:
        named = f"{family.name}_total" if family.kind == "counter" and not openmetrics else family.name
        lines += [f"# HELP {named} {family.help}", f"# TYPE {named} {family.kind}"]
        for sample in family.samples:
            labels = ",".join(f'{name}="{escaped(value)}"' for name, value in sample.labels.items())
            lines.append(f"{family.name}{sample.suffix}{f'{{{labels}}}' if labels else ''} {number(sample.value)}")
    return "\n".join([*lines, "# EOF"] if openmetrics else lines) + "\n"


def escaped(value: str) -> str:
    """A label's value as it stands between quotation marks."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    """A value as text; whole numbers without a point."""
    return str(int(value)) if value == int(value) else repr(float(value))


def counter(name: str, help: str, values: Mapping[Any, float], *labels: str) -> Family:
    """A counter; `values` by the value of its label, by a tuple of several, or by () without any."""
    return Family(name, "counter", help, _samples("_total", values, labels))


def gauge(name: str, help: str, values: Mapping[Any, float], *labels: str) -> Family:
    """A gauge, its values given as those of a counter."""
    return Family(name, "gauge", help, _samples("", values, labels))


def _samples(suffix: str, values: Mapping[Any, float], labels: tuple[str, ...]) -> tuple[Sample, ...]:
    keyed = ((key if isinstance(key, tuple) else (str(key),), value) for key, value in values.items())
    return tuple(Sample(suffix, dict(zip(labels, key)), value) for key, value in sorted(keyed))


def histogram(name: str, help: str, values: Mapping[str, Durations], label: str) -> Family:
    """A histogram with buckets for each value of `label`."""
    samples: list[Sample] = []
    bounds = [*(number(bound) for bound in BOUNDS_S), "+Inf"]
    for key, durations in sorted(values.items()):
        totals = list(accumulate(durations.buckets))
        samples += (Sample("_bucket", {label: key, "le": bound}, total) for bound, total in zip(bounds, totals))
        samples += (Sample("_sum", {label: key}, durations.sum_s), Sample("_count", {label: key}, totals[-1]))
    return Family(name, "histogram", help, tuple(samples))


def metrics_of(manager: JobManager, streams: int, responses: Mapping[int, int]) -> Iterator[Family]:
    """All that there is to tell.

    Args:
        streams: clients that watch queries.
        responses: how many there were of each status.
    """
    yield gauge("sabot_build_info", "The version that runs.", {__version__: 1}, "version")
    yield from query_metrics(manager.tally.counts())
    yield from load_metrics(manager.load())
    yield from agent_metrics(manager.agents())
    yield gauge("sabot_event_streams", "Clients that watch queries.", {(): streams})
    yield counter("sabot_http_responses", "Responses by HTTP status.", dict(responses), "status")
    yield from process_metrics()


def query_metrics(counts: Counts) -> Iterator[Family]:
    """What the queries came to that have ended."""
    help = "Queries that have ended, by route (none: not planned) and final state."
    yield counter("sabot_queries", help, counts.queries, "route", "state")
    yield counter("sabot_query_errors", "Failed queries by the code of their error.", counts.errors, "code")
    help = "Time from a query's submission to its end."
    yield histogram("sabot_query_duration_seconds", help, counts.durations, "route")
    totals = counts.totals
    yield counter("sabot_tasks", "Tasks of distributed queries.", {(): totals["tasks"]})
    yield counter("sabot_task_retries", "Attempts beyond the first of tasks.", {(): totals["retries"]})
    yield counter("sabot_scanned_rows", "Rows of tables that finished queries read.", {(): totals["rows_scanned"]})
    yield counter("sabot_scanned_bytes", "Bytes of tables that finished queries read.", {(): totals["bytes_scanned"]})
    yield counter("sabot_shuffled_bytes", "Bytes that stages handed on.", {(): totals["bytes_shuffled"]})
    yield counter(
        "sabot_spilled_bytes", "Bytes that operators wrote to disk for want of memory.", {(): totals["bytes_spilled"]}
    )


def load_metrics(load: Load) -> Iterator[Family]:
    """What is under way, and what is kept."""
    active = {state: load.states.get(state, 0) for state in ACTIVE_STATES}
    yield gauge("sabot_queries_active", "Queries that have not ended, by state.", active, "state")
    yield gauge("sabot_queries_waiting", "Queries that wait for their turn, by route.", load.waiting, "route")
    places = {"memory": load.result_memory_bytes, "disk": load.result_disk_bytes}
    yield gauge("sabot_result_store_bytes", "Kept results.", places, "place")


def agent_metrics(agents: list[AgentInfo]) -> Iterator[Family]:
    """How the agents are."""
    states = Counter(agent.state for agent in agents)
    by_state = {state: states[state] for state in get_args(AgentState)}
    yield gauge("sabot_agents", "Agents by state.", by_state, "state")
    alive = [agent for agent in agents if agent.state == "alive"]
    yield gauge("sabot_agent_slots", "Tasks that the agents which are alive run at once.", {(): sum(a.slots for a in alive)})
    yield gauge("sabot_agent_slots_used", "Tasks that they run.", {(): sum(a.slots_used or 0 for a in alive)})
    memory = sum(a.memory_used_bytes or 0 for a in alive)
    yield gauge("sabot_agent_memory_bytes", "Resident memory of the agents which are alive.", {(): memory})


def process_metrics() -> Iterator[Family]:
    """The server's process, under the names that every program uses."""
    yield counter("process_cpu_seconds", "User and system time of the process.", {(): time.process_time()})
    yield gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", {(): STARTED_S})
    with contextlib.suppress(OSError):  # Linux alone has these
        with open("/proc/self/statm") as statm:
            pages = int(statm.read().split()[1])
        yield gauge("process_resident_memory_bytes", "Resident memory.", {(): pages * os.sysconf("SC_PAGE_SIZE")})
        yield gauge("process_open_fds", "Open files and connections.", {(): len(os.listdir("/proc/self/fd"))})
