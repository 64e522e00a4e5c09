"""The client against servers that misbehave."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest

import sabot_sql
from sabot_sql.client.channel import is_loopback
from sabot_sql.client.contract import ARROW_STREAM, QUERY_METADATA
from tests.server.live_server import LONG_QUERY, LiveServer, clean_environment

Reply = tuple[int, str, bytes]


class Scripted(http.server.ThreadingHTTPServer):
    """An HTTP server that gives one reply to everything."""

    daemon_threads = True
    reply: Reply = (200, "text/plain", b"")
    requests: list[str]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append(f"{self.command} {self.path}")
        status, media, body = self.server.reply
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[Callable[[Reply], tuple[sabot_sql.Connection, Scripted]]]:
    server = Scripted(("127.0.0.1", 0), Handler)
    server.requests = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    db = sabot_sql.connect(f"http://127.0.0.1:{server.server_port}")

    def start(reply: Reply) -> tuple[sabot_sql.Connection, Scripted]:
        server.reply = reply
        return db, server

    yield start
    db.close()
    server.shutdown()
    server.server_close()


def stream(rows: int, claimed: int) -> bytes:
    table = pa.table({"x": list(range(rows))}).replace_schema_metadata({QUERY_METADATA: json.dumps({"row_count": claimed})})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def test_missing_rows_are_an_error(scripted: Callable[[Reply], tuple[sabot_sql.Connection, Scripted]]) -> None:
    db, _ = scripted((200, ARROW_STREAM, stream(10, 20)))
    with pytest.raises(sabot_sql.ExecutionError, match="10 of 20 rows arrived"):
        db.execute_sql("SELECT 1")


def test_cut_stream_is_an_error(scripted: Callable[[Reply], tuple[sabot_sql.Connection, Scripted]]) -> None:
    db, _ = scripted((200, ARROW_STREAM, stream(1000, 1000)[:-600]))
    with pytest.raises(sabot_sql.ExecutionError, match="not a whole Arrow stream|rows arrived"):
        db.execute_sql("SELECT 1")


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((502, "text/html", b"<h1>Bad Gateway</h1>"), "the server answered 502"),
        ((200, "application/json", b""), "not a whole Arrow stream"),
        ((404, "application/json", b"{}"), "the server answered 404"),
    ],
)
def test_answer_of_something_else_is_a_clear_error(
    scripted: Callable[[Reply], tuple[sabot_sql.Connection, Scripted]], reply: Reply, message: str
) -> None:
    db, _ = scripted(reply)
    with pytest.raises(sabot_sql.SabotError, match=message):
        db.execute_sql("SELECT 1")


def test_problem_may_lack_or_add_fields(scripted: Callable[[Reply], tuple[sabot_sql.Connection, Scripted]]) -> None:
    problem = {"code": "NEW_CODE", "title": "New", "position": {"line": 1, "end": 5}, "more": [1]}
    db, _ = scripted((400, "application/problem+json", json.dumps(problem).encode()))
    with pytest.raises(sabot_sql.SabotError, match="New"):
        db.execute_sql("SELECT 1")


def test_statement_without_a_key_is_sent_once(scripted: Callable[[Reply], tuple[sabot_sql.Connection, Scripted]]) -> None:
    db, server = scripted((500, "text/plain", b"oops"))
    with pytest.raises(sabot_sql.ServiceError):
        db.execute_sql("SELECT 1")
    assert server.requests == ["POST /v1/sql"]


def test_no_server_says_what_to_do() -> None:
    with sabot_sql.connect("http://127.0.0.1:1") as db, pytest.raises(sabot_sql.ConnectionFailed) as caught:
        db.execute_sql("SELECT 1")
    assert "sabot-sql serve" in str(caught.value.hint)
    assert caught.value.retryable


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_this_machine_is_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "example.com", "localhost.example.com", "::"])
def test_other_machines_are_not(host: str) -> None:
    assert not is_loopback(host)


INTERRUPTED = f"""
import sabot_sql, sys
with sabot_sql.connect(sys.argv[1]) as db:
    print("ready", flush=True)
    try:
        db.execute_sql({LONG_QUERY!r}, route="local", tags={{"t": "interrupted"}})
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


@pytest.mark.parametrize("after_s", [0.5, 4.0])
def test_ctrl_c_cancels_the_query_on_the_server(server: LiveServer, after_s: float) -> None:
    command = [sys.executable, "-c", INTERRUPTED, server.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(after_s)
        os.kill(process.pid, signal.SIGINT)
        deadline = threading.Timer(30, process.kill)
        deadline.start()
        assert process.stdout.readline() == "stopped\n"
        deadline.cancel()
    with sabot_sql.connect(server.url) as db:
        query_id = next(status.query_id for status in db.list_jobs() if status.tags == {"t": "interrupted"})
        assert db.job(query_id).wait(10).state == "cancelled"
