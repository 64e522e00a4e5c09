"""The documentation as data: its pages, the commands in them, and a small folder for those to work on."""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import functools
import re
import shlex
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import urllib3

from tests.server.live_server import LiveServer, live_server

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))


def page(name: str) -> str:
    """The text of a page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def commands(text: str, program: str) -> list[str]:
    """The indented command lines of a page that call `program`, lines that end in a backslash put together."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = (re.sub(r"\s+# .*", "", line[4:]) for line in joined.splitlines() if line.startswith("    "))
    return [line for line in found if re.match(rf"(echo .* \| )?(\S*/)?{program}\b", line)]


def write_my_folder(parent: Path) -> Path:
    """`my_folder` of the examples: the table `trips` with four rows."""
    trips = parent / "my_folder" / "trips"
    trips.mkdir(parents=True)
    days = [dt.date(2026, 1, 1), dt.date(2026, 1, 2), dt.date(2026, 2, 1), dt.date(2025, 12, 31)]
    table = pa.table({"zone": ["JFK", "LGA", "JFK", "EWR"], "fare": [812.5, 77.0, 0.5, None], "d": days})
    pq.write_table(table, trips / "part-0.parquet")
    return parent / "my_folder"


@functools.cache
def server() -> LiveServer:
    """The server of the examples: `sabot-sql serve --data my_folder --agents 2`, on a free port."""
    kept = contextlib.ExitStack()
    atexit.register(kept.close)
    folder = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="sabot-documents-")))
    return kept.enter_context(live_server(write_my_folder(folder), "--agents", "2"))


def curl(command: str) -> urllib3.BaseHTTPResponse:
    """What a curl command line asks for, asked of `server()`. A file is CSV; a table is there before it is dropped."""
    arguments = iter(shlex.split(command)[1:])
    url, method, body, headers = "", "", None, {}
    for argument in arguments:
        match argument:
            case "-s":
                pass
            case "-H":
                name, _, value = next(arguments).partition(":")
                headers[name] = value.strip()
            case "-X":
                method = next(arguments)
            case "-d" | "--data-binary":
                body = next(arguments)
                body = "zone,fee\nJFK,5\nLGA,3\n" if body.startswith("@") else body
            case _:
                url = argument
    path = re.sub(r"^(http://)?(127\.0\.0\.1|localhost):8600", "", url)
    assert path.startswith("/"), command
    if "QUERY_ID" in path:
        path = path.replace("QUERY_ID", str(server().sql("select zone, fare from trips")["query_id"]))
    if method == "DELETE":
        server().request("PUT", f"{path}/data?mode=replace", "a\n1\n", Content_Type="text/csv")
    return server().request(method or ("GET" if body is None else "POST"), path, body, **headers)
