"""A server that is killed while it takes a table: the next one has the old table or the new one, and nothing else."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
import urllib3

from tests.server.bodies import CSV, put
from tests.server.live_server import LiveServer, live_server

OLD = pa.table({"a": [1, 2, 3]})
NEW_ROWS = 3_000_000
NEW = b"a\n" + b"".join(b"%d\n" % number for number in range(NEW_ROWS))


def await_file(state: Path, pattern: str) -> None:
    deadline = time.monotonic() + 30
    while not any((state / "tables" / "incoming").glob(pattern)):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def killed_while(server: LiveServer, state: Path, pattern: str, wait_s: float) -> None:
    """Replaces the table by a large body, and kills the server a moment after a file of `pattern` is there."""

    def replace() -> None:
        with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
            put(server, "t", NEW, "replace", CSV)

    sending = threading.Thread(target=replace)
    sending.start()
    await_file(state, pattern)
    time.sleep(wait_s)
    server.process.kill()
    server.process.wait()
    sending.join()


@pytest.mark.parametrize(
    ("pattern", "wait_s"),
    [
        ("*.body", 0.01),
        ("*.parquet", 0.05),
        pytest.param("*.body", 0.1, marks=pytest.mark.slow),
        *(pytest.param("*.parquet", wait_s, marks=pytest.mark.slow) for wait_s in (0.0, 0.2, 0.4, 0.8)),
    ],
)
def test_kill_9_leaves_the_old_table_or_the_new_one(data: Path, tmp_path: Path, pattern: str, wait_s: float) -> None:
    options = ("--agents", "0", "--state-dir", str(tmp_path))
    with live_server(data, *options) as server:
        assert put(server, "t", OLD).status == 201
        killed_while(server, tmp_path, pattern, wait_s)
    with live_server(data, *options) as server:
        count, least = server.sql("SELECT count(*), min(a) FROM t", wait_ms=60_000)["rows"][0]
        assert (count, least) in ((3, 1), (NEW_ROWS, 0))
        assert list((tmp_path / "tables" / "incoming").iterdir()) == []
        assert put(server, "t", OLD, "replace").status == 201
        deadline = time.monotonic() + 45
        while len(list((tmp_path / "tables").rglob("*.parquet"))) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_server_that_is_stopped_gives_up_what_is_being_put(data: Path, tmp_path: Path) -> None:
    options = ("--agents", "0", "--state-dir", str(tmp_path))
    with live_server(data, *options) as server:
        assert put(server, "t", OLD).status == 201
        found: list[int] = []

        def replace() -> None:
            with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):
                found.append(put(server, "t", NEW * 3, "replace", CSV).status)

        sending = threading.Thread(target=replace)
        sending.start()
        await_file(tmp_path, "*.body")
        server.process.terminate()
        begin = time.monotonic()
        assert server.process.wait(25) == 0
        assert time.monotonic() - begin < 20
        sending.join()
        assert not any((tmp_path / "tables" / "incoming").glob("*.parquet"))
    with live_server(data, *options) as server:
        assert server.sql("SELECT count(*) FROM t")["rows"] == [[3]] or found == [201]
