from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

import sabot_sql
from tests.server.live_server import clean_environment


def test_one_shot_runs_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SABOT_URL", raising=False)
    assert sabot_sql.execute_sql("SELECT sum(x) FROM t", data={"t": pa.table({"x": [1, 2, 3]})}).scalar() == 6
    assert sabot_sql.execute_sql("SELECT $a + 1", {"a": 1}).scalar() == 2


LOADED_BY_ONE_SHOT = """
import sys, sabot_sql
print(sabot_sql.execute_sql("SELECT sum(range) FROM range(10)").scalar())
heavy = ("numba", "dbos", "sqlalchemy", "pandas", "datafusion", "pyarrow.flight", "pyarrow.dataset", "pydantic", "fastapi")
print(*[name for name in heavy if name in sys.modules])
"""


def test_one_shot_loads_neither_agents_nor_job_database() -> None:
    command = [sys.executable, "-c", LOADED_BY_ONE_SHOT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment())
    assert done.stdout == "45\n\n"


def test_one_shot_starts_agents_for_a_query_that_needs_them() -> None:
    found = sabot_sql.execute_sql("SELECT sum(x) FROM t", data={"t": pa.table({"x": [1, 2]})}, threshold=0)
    assert (found.scalar(), found.route) == (3, "distributed")


def test_one_shot_goes_to_the_server_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SABOT_URL", "http://127.0.0.1:1")
    with pytest.raises(sabot_sql.ConnectionFailed, match=r"cannot connect to http://127.0.0.1:1"):
        sabot_sql.execute_sql("SELECT 1")


def test_tables_come_and_go() -> None:
    with sabot_sql.connect(data={}, num_local_agents=0) as db:
        db.register("t", pa.table({"x": [1]}))
        assert db.execute_sql("SELECT x FROM t").scalar() == 1
        with pytest.raises(sabot_sql.QueryError) as caught:
            db.register("t", pa.table({"x": [2]}))
        assert caught.value.problem.code == "TABLE_EXISTS"
        db.register("t", pa.table({"x": [2]}), replace=True)
        assert db.execute_sql("SELECT x FROM t").scalar() == 2
        db.unregister("t")
        with pytest.raises(sabot_sql.PlanError):
            db.execute_sql("SELECT x FROM t")


def test_closed_connection_says_so() -> None:
    db = sabot_sql.connect(data={}, num_local_agents=0)
    db.close()
    db.close()
    for call in (lambda: db.execute_sql("SELECT 1"), db.tables, db.agents, lambda: db.submit("SELECT 1")):
        with pytest.raises(sabot_sql.ServiceError, match="closed"):
            call()


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("embedded:", {"api_key": "x"}, "api_key is for a server"),
        ("embedded:", {"num_local_agents": -1}, "cannot be negative"),
        ("embedded:", {"threshold": "lots"}, "threshold is 'lots'"),
        ("embedded:///tmp/a", {"state_dir": "/tmp/b"}, "given twice"),
        ("http://127.0.0.1:1", {"data": "x"}, "data is for an engine in this process"),
        ("localhost:8600", {}, "is not an address"),
        ("http://", {}, "is not an address"),
        ("http://host:port", {}, "is not an address"),
        ("http://user:pass@host", {}, "give api_key= instead"),
        ("http://10.1.2.3:8600", {"api_key": "x" * 16}, "unencrypted to 10.1.2.3"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(url: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(sabot_sql.ConfigError, match=message):
        sabot_sql.connect(url, **options)  # type: ignore[arg-type]


def test_key_may_travel_where_it_is_safe_or_allowed() -> None:
    sabot_sql.connect("http://127.0.0.1:1", api_key="x" * 16).close()
    sabot_sql.connect("https://host", api_key="x" * 16).close()
    sabot_sql.connect("http://host", api_key="x" * 16, allow_insecure=True).close()


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(sabot_sql.ConfigError, match="nowhere"):
        sabot_sql.connect(data=tmp_path / "nowhere", num_local_agents=0).close()


def test_state_folder_keeps_jobs(tmp_path: Path) -> None:
    url = f"embedded://{tmp_path}/state"
    with sabot_sql.connect(url, data={"t": pa.table({"x": [1, 2]})}, num_local_agents=1) as db:
        job = db.submit("SELECT sum(x) FROM t", route="distributed")
        assert job.result(60).scalar() == 3
    with sabot_sql.connect(url, num_local_agents=0) as db:
        assert db.job(job.query_id).result().scalar() == 3


INTERRUPTED = """
import sabot_sql, sys
with sabot_sql.connect(data={}, num_local_agents=0) as db:
    print("ready", flush=True)
    try:
        db.execute_sql("SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b", route="local")
    except KeyboardInterrupt:
        print(db.list_jobs()[0].state, db.execute_sql("SELECT 7").scalar())
"""


@pytest.mark.parametrize("after_s", [0.2, 0.9])
def test_ctrl_c_cancels_a_local_query_and_leaves_the_connection_usable(after_s: float) -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:
        deadline = threading.Timer(30, process.kill)
        deadline.start()
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(after_s)
        os.kill(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "cancelled 7\n"
        assert process.wait(20) == 0
        deadline.cancel()
