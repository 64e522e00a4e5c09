from __future__ import annotations

import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.cli.in_process import sabot
from tests.server.live_server import LONG_QUERY, live_server

KEY = "a-key-of-sixteen-or-more"


def test_port_in_use_says_which_and_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = sabot("serve", "--port", str(port))
    assert done.returncode == 2
    assert done.err == (
        f"error: port {port} on 127.0.0.1 is in use by another program\nhint: stop it, or choose another port with --port\n"
    )


def test_missing_data_folder_is_named(tmp_path: Path) -> None:
    done = sabot("serve", "--port", "0", "--data", tmp_path / "nowhere")
    assert done.returncode == 2
    assert "nowhere" in done.err
    assert "Traceback" not in done.err


def test_other_hosts_need_a_key() -> None:
    done = sabot("serve", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    assert "without authentication" in done.err
    assert "SABOT_API_KEY" in done.err


def test_short_key_is_no_key() -> None:
    assert "at least 16" in sabot("serve", "--port", "0", SABOT_API_KEY="short").err


def test_key_opens_the_server_and_hides_others_queries(data: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# people\nada:{KEY}-ada\nzoe:{KEY}-zoe\n")
    with live_server(data, "--agents", "0", "--api-keys-file", str(keys)) as server:
        refused = server.request("POST", "/v1/sql", {"sql": "SELECT 1"})
        wrong = server.request("POST", "/v1/sql", {"sql": "SELECT 1"}, Authorization=f"Bearer {KEY}")
        assert [(r.status, r.json()["code"]) for r in (refused, wrong)] == [(401, "UNAUTHENTICATED")] * 2
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        ada, zoe = (f"Bearer {KEY}-{name}" for name in ("ada", "zoe"))
        answer = server.request("POST", "/v1/sql", {"sql": "SELECT 1"}, Authorization=ada)
        path = f"/v1/queries/{answer.json()['query_id']}"
        assert server.request("GET", path, Authorization=ada).json()["user"] == "ada"
        assert server.request("GET", path, Authorization=zoe).json()["code"] == "QUERY_NOT_FOUND"
        assert server.request("POST", f"{path}/cancel", Authorization=zoe).status == 404
        assert server.request("GET", f"{path}/result", Authorization=zoe).status == 404
        assert server.request("GET", "/v1/queries", Authorization=zoe).json()["queries"] == []
        assert server.request("GET", "/readyz").status == 200


@pytest.mark.parametrize(("sig", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_signal_stops_the_server_while_a_query_runs(data: Path, sig: signal.Signals, code: int) -> None:
    with live_server(data, "--agents", "0") as server:
        query_id = server.request("POST", "/v1/sql", {"sql": LONG_QUERY, "route": "local", "wait_ms": 0}).json()["query_id"]
        poll = threading.Thread(target=server.request, args=("GET", f"/v1/queries/{query_id}?wait_ms=60000"))
        poll.start()
        time.sleep(0.3)
        begun = time.monotonic()
        server.process.send_signal(sig)
        status = server.process.wait(20)
        poll.join(20)
    assert time.monotonic() - begun < 20
    assert status == code


def test_same_port_and_folder_after_a_kill(data: Path, tmp_path: Path) -> None:
    state = ("--state-dir", str(tmp_path / "state"), "--agents", "0")
    with live_server(data, *state) as first:
        port = first.url.rpartition(":")[2]
        first.process.kill()
        first.process.wait()
        with live_server(data, *state, "--port", port) as second:
            assert second.url == first.url
            assert second.sql("SELECT count(*) FROM numbers")["rows"] == [[10_000]]
