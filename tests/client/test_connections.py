"""The same calls on an engine in this process and on a server."""

from __future__ import annotations

import datetime as dt
import inspect
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import sabot_sql
from sabot_sql import Connection, Result
from sabot_sql.client.options import QueryOptions
from sabot_sql.engine.request import Progress
from tests.server.live_server import LONG_QUERY, LiveServer


@pytest.fixture(scope="session")
def embedded(data: Path) -> Iterator[Connection]:
    with sabot_sql.connect("embedded:", data=data, num_local_agents=1) as db:
        yield db


@pytest.fixture(scope="session")
def remote(server: LiveServer) -> Iterator[Connection]:
    with sabot_sql.connect(server.url) as db:
        yield db


@pytest.fixture(params=["embedded", "remote"])
def db(request: pytest.FixtureRequest) -> Connection:
    found: Connection = request.getfixturevalue(request.param)
    return found


QUERIES: dict[str, Any] = {
    "SELECT i, name, half FROM numbers WHERE i < 100 ORDER BY i": None,
    "SELECT * FROM people WHERE id = $id": {"id": 2},
    "SELECT ?::DATE + 1 d, ? t": [dt.date(2026, 1, 1), "x"],
    "SELECT $d d, $t t, $b b": {"d": Decimal("1.50"), "t": dt.datetime(2026, 1, 2, 3, 4, 5), "b": b"\x00"},
    "SELECT sum(i) s, avg(half) a, count(DISTINCT name) c FROM numbers": None,
    "SELECT 1 a, 2 a": None,
    "SELECT i FROM numbers WHERE i < 0": None,
    "SELECT {'a': [1, 2]} s, MAP {'k': 1.5} m, INTERVAL 1 MONTH v, TIMESTAMPTZ '2026-01-01 00:00:00+00' z": None,
}


@pytest.mark.parametrize("sql", QUERIES)
def test_embedded_and_http_give_the_same(embedded: Connection, remote: Connection, sql: str) -> None:
    mine, theirs = (c.execute_sql(sql, QUERIES[sql], threshold=1_000_000) for c in (embedded, remote))
    assert theirs.to_arrow().equals(mine.to_arrow(), check_metadata=True)
    assert theirs.sql_types == mine.sql_types
    assert (theirs.route, theirs.reason, theirs.statement_type) == (mine.route, mine.reason, mine.statement_type)
    assert theirs.stats.keys() == mine.stats.keys()


def test_distributed_answer_is_the_local_one(db: Connection) -> None:
    sql = "SELECT i % 5 k, count(*) n, sum(half) s FROM numbers GROUP BY k ORDER BY k"
    local, distributed = (db.execute_sql(sql, route=route) for route in ("local", "distributed"))  # type: ignore[arg-type]
    assert distributed.to_arrow().equals(local.to_arrow())
    assert (local.route, distributed.route) == ("local", "distributed")
    assert distributed.stats["agents"] >= 1


def test_threshold_decides_where_auto_goes(db: Connection) -> None:
    sql = "SELECT count(*) FROM numbers"
    assert db.execute_sql(sql, threshold=10_000).route == "distributed"
    assert db.execute_sql(sql, threshold=10_001).route == "local"


def test_error_has_class_code_place_and_hint(db: Connection) -> None:
    with pytest.raises(sabot_sql.PlanError) as caught:
        db.execute_sql("SELECT\n  nam FROM people")
    error = caught.value
    assert error.problem.code == "UNDEFINED_COLUMN"
    assert (error.position.line, error.position.column) == (2, 3) if error.position else False
    assert "name" in str(error.hint)
    assert "^^^" in str(error)
    assert error.query_id


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELEC 1", sabot_sql.ParseError),
        ("SELECT 1; SELECT 2", sabot_sql.ParseError),
        ("DROP TABLE people", sabot_sql.PlanError),
        ("SELECT * FROM nobody", sabot_sql.PlanError),
    ],
)
def test_error_is_of_the_class_that_says_who_must_act(db: Connection, sql: str, kind: type[sabot_sql.SabotError]) -> None:
    with pytest.raises(kind):
        db.execute_sql(sql)


def test_time_limit_stops_the_query(db: Connection) -> None:
    begun = time.monotonic()
    with pytest.raises(sabot_sql.QueryTimeout):
        db.execute_sql(LONG_QUERY, route="local", timeout_s=0.5)
    assert time.monotonic() - begun < 10


def test_row_limit_marks_the_result_as_truncated(db: Connection) -> None:
    result = db.execute_sql("SELECT i FROM numbers ORDER BY i", row_limit=2)
    assert (result.to_pylist(), result.truncated) == ([{"i": 0}, {"i": 1}], True)
    assert not db.execute_sql("SELECT 1", row_limit=1).truncated


@pytest.mark.parametrize(
    "options",
    [{"route": "remote"}, {"threshold": -1}, {"threshold": "many"}, {"timeout_s": 0}, {"engine": "spark"}, {"row_limit": -1}],
)
def test_argument_out_of_range_is_refused(db: Connection, options: dict[str, Any]) -> None:
    with pytest.raises(sabot_sql.QueryError, match=next(iter(options))):
        db.execute_sql("SELECT 1", **options)


def test_job_goes_from_submission_to_result(db: Connection) -> None:
    job = db.submit("SELECT count(*) n FROM numbers", route="distributed", tags={"app": "test"})
    assert job.wait(60).state == "finished"
    assert job.result().scalar() == 10_000
    assert db.job(job.query_id).status().tags == {"app": "test"}
    assert job.progress().tasks_done == job.progress().tasks
    assert job.query_id in [status.query_id for status in db.list_jobs(limit=10)]


def test_job_is_cancelled(db: Connection) -> None:
    job = db.submit(LONG_QUERY, route="local")
    job.cancel()
    assert job.wait(10).state == "cancelled"
    with pytest.raises(sabot_sql.Cancelled):
        job.result()


def test_wait_for_a_job_can_run_out(db: Connection) -> None:
    job = db.submit(LONG_QUERY, route="local", timeout_s=20)
    with pytest.raises(sabot_sql.QueryTimeout, match="is still"):
        job.wait(0.2)
    job.cancel()


def test_failed_job_tells_its_error(db: Connection) -> None:
    job = db.submit("SELECT * FROM nobody")
    assert job.wait(10).state == "failed"
    with pytest.raises(sabot_sql.PlanError, match="nobody"):
        job.result()


def test_batch_gives_a_job_for_each_statement(db: Connection) -> None:
    jobs = db.submit_jobs_batch([f"SELECT {n}" for n in range(5)])
    assert [job.result().scalar() for job in jobs] == [0, 1, 2, 3, 4]


def test_batch_tells_names_states_and_errors(db: Connection) -> None:
    statements = [("SELECT $x + 1", {"x": 4}), {"name": "bad", "sql": "SELECT * FROM nobody"}, "SELECT 3"]
    batch = db.submit_jobs_batch(statements, "sequential", "stop")
    status = batch.wait(20)
    assert (status.state, [(s.name, s.state) for s in status.statements]) == (
        "failed",
        [("0", "finished"), ("bad", "failed"), ("2", "cancelled")],
    )
    assert "nobody" in str(status.statements[1].error)
    assert batch[0].result().scalar() == 5
    with pytest.raises(sabot_sql.Cancelled, match="failed before it began"):
        batch[2].result()
    with pytest.raises(sabot_sql.QueryError, match="statement 0 of the batch is a int"):
        db.submit_jobs_batch([5])  # type: ignore[list-item]


def test_batch_is_cancelled_as_a_whole(db: Connection) -> None:
    batch = db.submit_jobs_batch([LONG_QUERY] * 3, max_parallel=1, route="local")
    assert [job.status().state in ("queued", "planning", "running") for job in batch] == [True] * 3
    batch[2].cancel()
    batch.cancel()
    assert [s.state for s in batch.wait(10).statements] == ["cancelled"] * 3


def test_job_is_tried_again(db: Connection) -> None:
    job = db.submit("SELECT $1 + 1", [2])
    assert job.result(10).scalar() == 3
    again = job.retry()
    assert again.query_id != job.query_id
    assert again.result(10).scalar() == 3


def test_unknown_job_is_not_found(db: Connection) -> None:
    with pytest.raises(sabot_sql.QueryError) as caught:
        db.job("q_" + "0" * 32)
    assert caught.value.problem.code == "QUERY_NOT_FOUND"


def test_progress_is_reported(db: Connection) -> None:
    seen: list[Progress] = []
    db.execute_sql("SELECT name, sum(i) FROM numbers GROUP BY name", route="distributed", progress=seen.append)
    last = seen[-1]
    assert (last.stages_done, last.tasks_done, last.fraction) == (last.stages, last.tasks, 1.0)
    assert (last.rows_read, last.bytes_shuffled > 0) == (10_000, True)
    assert len({id(p) for p in seen}) == len(seen)


def test_progress_of_a_local_query_is_not_reported(db: Connection) -> None:
    seen: list[Progress] = []
    db.execute_sql("SELECT count(*) FROM range(100000000)", route="local", progress=seen.append)
    assert seen == []


def test_progress_callback_that_raises_becomes_a_warning(db: Connection) -> None:
    def fail(now: Progress) -> None:
        raise RuntimeError("no screen")

    found = db.execute_sql("SELECT sum(i) FROM numbers", route="distributed", progress=fail)
    assert found.scalar() == 49_995_000
    assert "the progress callback raised RuntimeError: no screen; it was not called again" in found.warnings


def test_arrays_are_parameters(db: Connection) -> None:
    found = db.execute_sql("SELECT list_sum($a) + $b", {"a": np.array([1, 2]), "b": np.int64(3)})
    assert found.scalar() == 6


@pytest.mark.parametrize("method", ["execute_sql", "submit", "explain", "submit_jobs_batch"])
def test_signature_spells_the_options_out(method: str) -> None:
    for owner in (Connection, sabot_sql.AsyncConnection):
        found = inspect.signature(getattr(owner, method)).parameters
        assert [found[name].default for name in QueryOptions.__annotations__] == ["auto", *[None] * 3, "duckdb", *[None] * 5, 0]
        assert not [p for p in found.values() if p.kind is p.VAR_KEYWORD]


def test_cancel_event_stops_the_query(db: Connection) -> None:
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    with pytest.raises(sabot_sql.Cancelled):
        db.run(db.request(LONG_QUERY, route="local"), cancel=cancel)


def test_threads_share_a_connection(db: Connection) -> None:
    found: dict[int, int] = {}

    def ask(n: int) -> None:
        found[n] = db.execute_sql("SELECT sum(i) + $n FROM numbers", {"n": n}).scalar()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: 49_995_000 + n for n in range(16)}


def test_explanation_names_route_reason_and_tables(db: Connection) -> None:
    found = db.explain("SELECT count(*) FROM numbers", route="distributed")
    assert (found.route, found.tables) == ("distributed", ("numbers",))
    assert found.text.startswith("route")
    assert found.stages


def test_tables_and_agents_are_mappings(db: Connection) -> None:
    tables = {table["name"]: table for table in db.tables()}
    assert tables["numbers"].rows == tables["numbers"]["rows"] == 10_000
    assert [c["name"] for c in db.table("PEOPLE")["columns"]] == ["id", "name"]
    with pytest.raises(sabot_sql.QueryError, match="nobody"):
        db.table("nobody")
    db.execute_sql("SELECT count(*) FROM numbers", route="distributed")
    agent = db.agents()[0]
    assert (agent["state"], agent.pid > 0) == ("alive", True)
    assert agent["flight_uri"].startswith("grpc")
    with pytest.raises(AttributeError, match="no colour here"):
        _ = agent.colour


def test_info_names_the_engines(db: Connection) -> None:
    assert "duckdb" in db.info()["engines"]


@pytest.fixture
def people(db: Connection) -> Result:
    return db.execute_sql("SELECT id, name FROM people ORDER BY id")


def test_result_takes_every_form(people: Result) -> None:
    rows = [(1, "Ada"), (2, None), (3, "Zoë, „Z“")]
    assert list(people) == rows
    assert people.to_pylist() == [{"id": i, "name": n} for i, n in rows]
    assert people.to_pandas()["id"].tolist() == [1, 2, 3]
    assert people.to_polars().rows() == rows
    assert pl.DataFrame(people).rows() == rows
    assert pa.table(people).equals(people.to_arrow())
    assert isinstance(people.to_pandas(), pd.DataFrame)
    assert [batch.num_rows for batch in people.batches(2)] == [2, 1]
    assert (len(people), people.columns, people.schema.names) == (3, ["id", "name"], ["id", "name"])
    assert next(iter(people)).name == "Ada"
    assert "<td>Ada</td>" in people._repr_html_()
    assert "<i>NULL</i>" in people._repr_html_()


def test_one_row_and_one_value(db: Connection) -> None:
    assert db.execute_sql("SELECT 1, 'a'").one() == (1, "a")
    assert db.execute_sql("SELECT 5").scalar() == 5
    assert db.execute_sql("SELECT i FROM numbers WHERE i < 0").scalar() is None
    with pytest.raises(sabot_sql.QueryError, match="3 rows"):
        db.execute_sql("SELECT * FROM people").one()


def test_show_prints_a_table(people: Result, capsys: pytest.CaptureFixture[str]) -> None:
    people.show(2)
    lines = capsys.readouterr().out.splitlines()
    assert "│ Ada" in lines[4]
    assert lines[-2] == "… 1 more rows"
    assert lines[-1].startswith("(3 rows)  route local · ")
