"""`GET /metrics`: the text parses, and what it says is what happened."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sabot_sql.jobs.tally import BOUNDS_S, Durations
from sabot_sql.server.metrics import Family, Sample, histogram, write_metrics
from tests.server.event_stream import events_in, open_stream
from tests.server.live_server import LONG_QUERY, LiveServer, live_server, write_tables

LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)+)\})? ([0-9.e+-]+)')


def metrics(server: LiveServer, **headers: str) -> dict[str, float]:
    """Every sample by its name and labels, and every line checked."""
    answer = server.request("GET", "/metrics", **headers)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    found, typed = {}, set()
    for line in answer.data.decode().splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
        elif not line.startswith("# HELP "):
            parsed = LINE.fullmatch(line)
            assert parsed, line
            assert parsed[1] in typed or re.sub(r"_(bucket|sum|count)$", "", parsed[1]) in typed, line
            found[line.rpartition(" ")[0]] = float(parsed[3])
    return found


def growth(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}


def test_queries_are_counted_by_route_and_state(server: LiveServer) -> None:
    before = metrics(server)
    server.sql("SELECT 1")
    server.request("POST", "/v1/sql", {"sql": "SELECT * FROM number"})
    server.request("POST", "/v1/sql", {"sql": LONG_QUERY, "route": "local", "timeout_ms": 100})
    stats = server.sql("SELECT name, count(*) FROM numbers GROUP BY 1", route="distributed")["stats"]
    found = growth(before, metrics(server))
    assert found['sabot_queries_total{route="local",state="finished"}'] == 1
    assert found['sabot_queries_total{route="none",state="failed"}'] == 1
    assert found['sabot_queries_total{route="local",state="failed"}'] == 1
    assert found['sabot_queries_total{route="distributed",state="finished"}'] == 1
    assert found['sabot_query_errors_total{code="UNDEFINED_TABLE"}'] == 1
    assert found['sabot_query_errors_total{code="QUERY_TIMEOUT"}'] == 1
    assert found['sabot_query_duration_seconds_count{route="local"}'] == 2
    assert found["sabot_tasks_total"] == stats["tasks"]
    assert found["sabot_shuffled_bytes_total"] == stats["bytes_shuffled"] > 0
    assert found['sabot_http_responses_total{status="200"}'] >= 2


def test_buckets_hold_all_that_was_shorter(server: LiveServer) -> None:
    server.sql("SELECT 1")
    found = metrics(server)
    name = "sabot_query_duration_seconds"
    counts = [value for key, value in found.items() if key.startswith(f'{name}_bucket{{route="local"')]
    assert len(counts) == len(BOUNDS_S) + 1
    assert counts == sorted(counts)
    assert counts[-1] == found[f'{name}_count{{route="local"}}']


def test_agents_results_and_the_process_are_told(server: LiveServer) -> None:
    found = metrics(server)
    assert found['sabot_agents{state="alive"}'] + found['sabot_agents{state="starting"}'] == 2
    assert {'sabot_result_store_bytes{place="memory"}', 'sabot_result_store_bytes{place="disk"}'} <= found.keys()
    assert found["process_resident_memory_bytes"] > 10 << 20
    assert found["process_cpu_seconds_total"] > 0


def test_query_that_runs_and_who_watches_it_are_told(server: LiveServer) -> None:
    body = {"sql": LONG_QUERY, "route": "local", "wait_ms": 0}
    query_id = server.request("POST", "/v1/sql", body).json()["query_id"]
    stream = open_stream(server, query_id)
    events = events_in(stream.stream())
    next(events)
    found = metrics(server)
    assert (found['sabot_queries_active{state="running"}'], found["sabot_event_streams"]) == (1, 1)
    stream.close()
    server.request("DELETE", f"/v1/queries/{query_id}")
    server.request("GET", f"/v1/queries/{query_id}?wait_ms=10000")
    found = metrics(server)
    assert (found['sabot_queries_active{state="running"}'], found["sabot_event_streams"]) == (0, 0)


def test_openmetrics_is_for_those_who_ask(server: LiveServer) -> None:
    answer = server.request("GET", "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    lines = answer.data.decode().splitlines()
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert lines[-1] == "# EOF"
    assert "# TYPE sabot_queries counter" in lines
    assert any(line.startswith("sabot_queries_total{") for line in lines)


@pytest.mark.parametrize(("setting", "status"), [("false", 401), ("true", 200)])
def test_metrics_need_a_key_unless_they_are_open(tmp_path: Path, setting: str, status: int) -> None:
    environment = {"SABOT_API_KEY": "k" * 20, "SABOT_SERVER__METRICS_OPEN": setting}
    with live_server(write_tables(tmp_path), "--agents", "0", **environment) as server:
        assert server.request("GET", "/metrics").status == status
        assert server.request("GET", "/v1/cluster").status == 401


def test_values_and_labels_are_written_as_the_format_wants() -> None:
    labels = {"code": 'a"b\\c\nd'}
    family = Family("x", "gauge", "X.", (Sample("", labels, 1.5), Sample("", {}, 3.0)))
    assert write_metrics([family]) == '# HELP x X.\n# TYPE x gauge\nx{code="a\\"b\\\\c\\nd"} 1.5\nx 3\n'
    durations = Durations()
    for seconds in (0.001, 0.0011, 10_000):
        durations.add(seconds)
    samples = histogram("d", "D.", {"local": durations}, "route").samples
    assert [s.value for s in samples[:2]] == [1, 2]
    assert [(s.suffix, s.value) for s in samples[-3:]] == [("_bucket", 3), ("_sum", 10_000.0021), ("_count", 3)]
