"""A real `sabot-sql serve` in a process of its own, over small real files."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import urllib3

LONG_QUERY = "SELECT sum(a.i * b.i) FROM numbers a, numbers b, numbers c WHERE a.i + b.i + c.i < 0"


def write_tables(folder: Path) -> Path:
    """`numbers` (10,000 rows in two files) and `people` (three rows)."""
    half = 5_000
    for part in range(2):
        (folder / "numbers").mkdir(parents=True, exist_ok=True)
        values = range(part * half, (part + 1) * half)
        table = pa.table(
            {"i": pa.array(values, pa.int64()), "name": [f"n{v}" for v in values], "half": [v / 2 for v in values]}
        )
        pq.write_table(table, folder / "numbers" / f"part-{part}.parquet")
    pq.write_table(pa.table({"id": [1, 2, 3], "name": ["Ada", None, "Zoë, „Z“"]}), folder / "people.parquet")
    return folder


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without settings of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SABOT_")} | more


@dataclass
class LiveServer:
    """A running server: its address, its process, and a plain HTTP client."""

    url: str
    process: subprocess.Popen[str]
    http: urllib3.PoolManager

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> urllib3.BaseHTTPResponse:
        """One request; a dict is sent as JSON. Header names are given with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, dict):
            body, named = json.dumps(body), {"Content-Type": "application/json", **named}
        return self.http.request(method, self.url + path, body=body, headers=named, retries=False, timeout=90)

    def sql(self, sql: str, **fields: Any) -> dict[str, Any]:
        """The JSON answer to a statement."""
        answer = self.request("POST", "/v1/sql", {"sql": sql, **fields})
        assert answer.status == 200, answer.data
        found: dict[str, Any] = answer.json()
        return found


@contextlib.contextmanager
def live_server(data: Path | None, *options: str, **environment: str) -> Iterator[LiveServer]:
    """Starts a server on a free port and stops it in the end."""
    command = [sys.executable, "-m", "sabot_sql.cli", "serve", "--port", "0", *options]
    if data is not None:
        command += ["--data", str(data)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=clean_environment(**environment))
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if "listens on " in line:
            break
    else:
        process.stderr.close()
        process.wait()
        raise AssertionError(f"the server did not start: {''.join(seen)}")
    url = seen[-1].split("listens on ")[1].split()[0]
    http = urllib3.PoolManager(maxsize=16)
    try:
        yield LiveServer(url, process, http)
    finally:
        http.clear()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(25)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stderr.close()


@functools.cache
def shared_data() -> Path:
    """The tables that all tests may read."""
    folder = tempfile.TemporaryDirectory(prefix="sabot-doors-")
    atexit.register(folder.cleanup)
    return write_tables(Path(folder.name))


@functools.cache
def shared_server() -> LiveServer:
    """One server with two agents for all tests that do not harm it."""
    kept = contextlib.ExitStack()
    atexit.register(kept.close)
    return kept.enter_context(live_server(shared_data(), "--agents", "2"))
