"""What is refused of bodies that are to be tables: what is no table, what is too much, and who may not; nothing is left."""

from __future__ import annotations

import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sabot_sql.server.keys import ROLES, add_key, new_key, read_keys
from sabot_sql.server.principal import Principal
from sabot_sql.server.tokens import principal_of
from tests.cli.in_process import sabot
from tests.server.bodies import ARROW, CSV, PARQUET, arrow, drop, parquet, problem, put
from tests.server.live_server import LiveServer, live_server

ROWS = pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]})
TWICE = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "A"])


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def taking(data: Path, state: Path) -> Iterator[LiveServer]:
    with live_server(data, "--agents", "0", "--state-dir", str(state)) as server:
        yield server


def left(state: Path) -> list[Path]:
    """What lies in the folder of tables, but for files of DuckDB that it keeps for itself."""
    return sorted(path for path in (state / "tables").rglob("*") if path.is_file())


def await_nothing(state: Path, timeout_s: float = 45.0) -> None:
    deadline = time.monotonic() + timeout_s
    while left(state):
        assert time.monotonic() < deadline, left(state)
        time.sleep(0.02)


def bomb() -> bytes:
    """A compressed stream that says of a buffer that it is a terabyte."""
    body = bytearray(arrow(pa.table({"x": [7] * 100_000}), "zstd"))
    at = body.index(struct.pack("<q", 800_000))
    body[at : at + 8] = struct.pack("<q", 1 << 40)
    return bytes(body)


def points_out() -> bytes:
    """A stream with an offset that points out of its buffer."""
    body = bytearray(arrow(pa.table({"s": ["abc", "def", "ghi"]})))
    at = body.index(struct.pack("<4i", 0, 3, 6, 9))
    body[at + 4 : at + 8] = struct.pack("<i", 1 << 30)
    return bytes(body)


BAD: dict[str, tuple[str, bytes, str]] = {
    "empty arrow": (ARROW, b"", "the body is empty"),
    "empty parquet": (PARQUET, b"", "the body is empty"),
    "empty csv": (CSV, b"", "the body is empty"),
    "no arrow": (ARROW, b"a,b\n1,2\n" * 100, "cannot be read as an Arrow stream"),
    "arrow file": (ARROW, b"ARROW1\0\0" + arrow(ROWS), "cannot be read as an Arrow stream"),
    "arrow without its end": (ARROW, arrow(ROWS)[:-8], "the mark of its end is missing"),
    "arrow cut in a batch": (ARROW, arrow(ROWS)[:-30], "cut short"),
    "arrow with more behind it": (ARROW, arrow(ROWS) + b"more", "follow its end"),
    "arrow that is a bomb": (ARROW, bomb(), "MiB when decompressed"),
    "arrow that points out": (ARROW, points_out(), "cannot be read as an Arrow stream"),
    "arrow with text that is none": (
        ARROW, arrow(pa.table({"s": pa.array([b"\xff\xfe"]).view(pa.string())})), "UTF8"),
    "no parquet": (PARQUET, b"a,b\n1,2\n" * 100, "cannot be read as a Parquet file"),
    "parquet cut": (PARQUET, parquet(ROWS)[:-10], "cannot be read as a Parquet file"),
    "parquet without its middle": (PARQUET, parquet(ROWS)[:40] + parquet(ROWS)[60:], "cannot be read as a Parquet file"),
    "csv of another encoding": (CSV, "a,b\n1,ä\n".encode("utf-16"), "cannot be read as CSV"),
    "csv that is zipped": (CSV, b"\x1f\x8b\x08\0\0\0\0\0" * 20, "cannot be read as CSV"),
    "csv of another type further down": (CSV, b"a\n" + b"1\n" * 50_000 + b"x\n", "cannot be read as CSV"),
    "arrow columns twice": (ARROW, arrow(TWICE), "one name in SQL"),
    "parquet columns twice": (PARQUET, parquet(TWICE), "one name in SQL"),
    "csv columns twice": (CSV, b"a,b,a\n1,2,3\n", 'two columns are named "a"'),
    "a column without a name": (ARROW, arrow(pa.table({"": [1]})), "has no name"),
    "a NUL in the name of a column": (ARROW, arrow(pa.table({"a\0b": [1]})), "has a NUL in it"),
    "a NUL in the header": (CSV, b"a\0,b\n1,2\n", "NUL"),
    "no columns": (ARROW, arrow(pa.table({})), "has no columns"),
    "duration": (ARROW, arrow(pa.table({"d": pa.array([1], pa.duration("s"))})), 'column "d" is of type INTERVAL'),
    "union": (
        ARROW, arrow(pa.table({"u": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])})), 'column "u"'),
    "struct of nothing": (ARROW, arrow(pa.table({"s": pa.array([{}], pa.struct([]))})), 'column "s"'),
    "wide decimal": (ARROW, arrow(pa.table({"w": pa.array([None], pa.decimal256(60, 2))})), 'column "w"'),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_table_is_told_in_words_and_leaves_nothing(taking: LiveServer, state: Path, name: str) -> None:
    kind, body, said = BAD[name]
    answer = put(taking, "bad", body, kind=kind)
    status, _, detail = problem(answer)
    assert (status, said in detail) == (400, True), answer.json()
    assert str(state) not in str(answer.json())
    assert taking.request("GET", "/v1/tables/memory/main/bad").status == 404
    assert left(state) == []


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Content_Type": "application/json"}, "the body is application/json"),
        ({"Content_Type": ""}, "of no type"),
        ({"Content_Type": CSV, "Content_Encoding": "gzip"}, "encoded as gzip"),
        ({"Content_Type": f"{CSV}; charset=latin-1"}, "is in latin-1"),
    ],
)
def test_what_is_not_taken_is_said(taking: LiveServer, headers: dict[str, str], said: str) -> None:
    answer = taking.request("PUT", "/v1/tables/memory/main/bad/data", b"a\n1\n", **headers)
    assert (answer.status, said in answer.json()["detail"]) == (400, True)
    assert taking.request("PUT", "/v1/tables/memory/main/bad/data?mode=upsert", b"a\n1\n", Content_Type=CSV).status == 400
    assert taking.request("PUT", "/v1/tables/lake/main/bad/data", b"a\n1\n", Content_Type=CSV).status == 404


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_the_limit_is_refused(data: Path, tmp_path: Path, is_chunked: bool) -> None:
    body: Any = b"a\n" + b"1\n" * 100_000
    with live_server(data, "--agents", "0", "--state-dir", str(tmp_path), SABOT_TABLES__UPLOAD_BYTES="100000") as server:
        assert server.request("GET", "/v1/info").json()["limits"]["upload_bytes"] == 100_000
        answer = put(server, "t", iter([body]) if is_chunked else body, kind=CSV)
        assert problem(answer)[:2] == (413, "BODY_TOO_LARGE")
        assert put(server, "t", body[:99_998], kind=CSV).status == 201
        assert drop(server, "t") == 204
        await_nothing(tmp_path)


def test_more_than_the_limit_of_other_bodies_is_taken(taking: LiveServer, state: Path) -> None:
    table = pa.table({"i": range(9_000_000)})
    body = arrow(table)
    assert len(body) > 64 << 20
    slow = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            begin = time.monotonic()
            assert taking.request("GET", "/livez").status == 200
            slow.append(time.monotonic() - begin)
            time.sleep(0.01)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert put(taking, "large", body).json() == {"rows": 9_000_000}
    finally:
        done.set()
        asking.join()
    assert sorted(slow)[len(slow) // 2] < 0.1
    assert taking.sql("SELECT sum(i) FROM large", wait_ms=60_000)["rows"] == [[str(sum(range(9_000_000)))]]
    assert drop(taking, "large") == 204
    await_nothing(state)


def test_a_body_that_takes_too_long_is_refused(data: Path, tmp_path: Path) -> None:
    with live_server(data, "--agents", "0", "--state-dir", str(tmp_path), SABOT_TABLES__UPLOAD_S="0.5") as server:
        with begun(server, b"a\n1\n") as raw:
            answer = raw.recv(4096)
            answer += raw.recv(4096) if b"QUERY" not in answer else b""
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"QUERY_TIMEOUT" in answer
        await_nothing(tmp_path)


def begun(server: LiveServer, body: bytes, name: bytes = b"t") -> socket.socket:
    """An upload of which the beginning is sent."""
    host, port = server.url.removeprefix("http://").split(":")
    raw = socket.create_connection((host, int(port)), 10)
    head = b"PUT /v1/tables/memory/main/%b/data?mode=replace HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n" % name
    raw.sendall(head + b"Content-Length: 100000000\r\n\r\n" + body)
    return raw


def test_a_client_that_goes_away_leaves_nothing(taking: LiveServer, state: Path) -> None:
    assert put(taking, "t", ROWS, "replace").status == 201
    there = left(state)
    raw = begun(taking, b"a,b\n" + b"1,x\n" * 1_000_000)
    deadline = time.monotonic() + 10
    while left(state) == there:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    raw.close()
    while left(state) != there:
        assert time.monotonic() < deadline, left(state)
        time.sleep(0.01)
    assert taking.sql("SELECT count(*) FROM t")["rows"] == [[3]]
    assert drop(taking, "t") == 204


@pytest.mark.parametrize("kind", [ARROW, CSV])
def test_a_full_disk_is_an_error_in_words_and_leaves_nothing(data: Path, tmp_path: Path, kind: str) -> None:
    with live_server(data, "--agents", "0", "--state-dir", str(tmp_path)) as server:
        assert put(server, "t", ROWS).status == 201
        there = left(tmp_path)
        before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (3 << 20, before[1]))  # no file may be larger
        noise = pa.table({"i": pa.array([(i * 2654435761) % (1 << 62) for i in range(700_000)], pa.int64())})
        # the body does not fit; or it does, and the file that is made of it does not
        body = arrow(noise) if kind == ARROW else b"a\n" + b"1\n" * 2_000_000
        status, code, detail = problem(put(server, "t", body, "replace", kind))
        assert (status, code, "does not fit on the server's disk" in detail) == (503, "SERVICE_ERROR", True), detail
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
        assert left(tmp_path) == there
        assert server.sql("SELECT count(*) FROM t")["rows"] == [[3]]


def test_a_made_file_that_does_not_fit_on_the_disk(data: Path, tmp_path: Path) -> None:
    with live_server(data, "--agents", "0", "--state-dir", str(tmp_path)) as server:
        before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (3 << 20, before[1]))
        noise = pa.table({"i": pa.array([(i * 2654435761) % (1 << 40) for i in range(600_000)], pa.int64())})
        answer = put(server, "t", arrow(noise, "zstd"), "replace")
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
        assert (answer.status, "does not fit" in answer.json()["detail"]) == (503, True), answer.data
        assert left(tmp_path) == []


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    file, secrets = tmp_path_factory.mktemp("keys") / "keys", {}
    for user, role, tables in (
        ("ada", "reader", None),
        ("wim", "writer", None),
        ("mia", "writer", ("mine_*", "PEOPLE")),
        ("eve", "admin", None),
    ):
        secret, kept = new_key(user, role, tables=tables)  # type: ignore[arg-type]
        add_key(file, kept)
        secrets[user] = f"Bearer {secret}"
    return file, secrets


@pytest.fixture(scope="module")
def guarded(data: Path, keys: tuple[Path, dict[str, str]]) -> Iterator[LiveServer]:
    with live_server(data, "--agents", "0", "--api-keys-file", str(keys[0])) as server:
        yield server


def test_writers_and_admins_put_and_drop_and_readers_do_not(guarded: LiveServer, keys: tuple[Path, dict[str, str]]) -> None:
    secrets = keys[1]
    status, code, detail = problem(put(guarded, "t", ROWS, Authorization=secrets["ada"]))
    assert (status, code, "takes a writer" in detail) == (403, "PERMISSION_DENIED", True)
    assert put(guarded, "t", ROWS, Authorization=secrets["wim"]).status == 201
    assert drop(guarded, "t", Authorization=secrets["ada"]) == 403
    assert guarded.request("POST", "/v1/sql", {"sql": "FROM t"}, Authorization=secrets["ada"]).json()["row_count"] == 3
    assert put(guarded, "t", ROWS, "append", Authorization=secrets["eve"]).status == 201
    assert drop(guarded, "t", Authorization=secrets["wim"]) == 204
    assert put(guarded, "t", ROWS).status == 401


def test_a_writer_is_no_admin(guarded: LiveServer, keys: tuple[Path, dict[str, str]]) -> None:
    writer = keys[1]["wim"]
    assert guarded.request("PUT", "/v1/cluster/agents", {"desired": 1}, Authorization=writer).status == 403
    guarded.request("POST", "/v1/sql", {"sql": "SELECT 'of eve'"}, Authorization=keys[1]["eve"])
    listed = guarded.request("GET", "/v1/queries", Authorization=writer).json()["queries"]
    assert {query["user"] for query in listed} <= {"wim"}
    assert guarded.request("GET", "/v1/catalogs", Authorization=writer).json()[0]["read_only"] is False
    assert guarded.request("GET", "/v1/catalogs", Authorization=keys[1]["ada"]).json()[0]["read_only"] is True


def test_a_writer_of_some_tables_writes_those(guarded: LiveServer, keys: tuple[Path, dict[str, str]]) -> None:
    mia = keys[1]["mia"]
    assert put(guarded, "Mine_1", ROWS, Authorization=mia).status == 201
    assert put(guarded, "theirs", ROWS, Authorization=keys[1]["wim"]).status == 201
    for name in ("theirs", "nobodys", "numbers"):
        for mode in ("create", "append", "replace"):
            answer = put(guarded, name, ROWS, mode, Authorization=mia)
            assert (answer.status, answer.json()["code"]) == (403, "PERMISSION_DENIED"), (name, mode)
        assert drop(guarded, name, Authorization=mia) == 403
    assert problem(put(guarded, "people", ROWS, "replace", Authorization=mia))[:2] == (403, "READ_ONLY")
    assert drop(guarded, "mine_1", Authorization=mia) == 204
    assert drop(guarded, "theirs", Authorization=keys[1]["wim"]) == 204


def test_everybody_on_this_machine_may_be_a_writer_or_a_reader_only(data: Path) -> None:
    for role, status in (("writer", 201), ("reader", 403)):
        with live_server(data, "--agents", "0", SABOT_SERVER__ANONYMOUS_ROLE=role) as server:
            assert put(server, "t", ROWS).status == status
            assert server.request("PUT", "/v1/cluster/agents", {"desired": 1}).status == 403


def test_keys_and_tokens_of_writers(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    assert sabot("key", "create", "wim", "--role", "writer", "--tables", "main.mine_*", "--file", file).returncode == 0
    assert sabot("key", "ls", "--format", "csv", "--file", file).out.strip().endswith("mine_*")
    (key,) = read_keys(file)
    assert (key.user, key.role, key.tables) == ("wim", "writer", ("mine_*",))
    assert principal_of({"sub": "wim", "sabot_role": "writer", "sabot_tables": ["mine_*"]}) == Principal(
        "wim", "writer", ("mine_*",)
    )
    assert [principal_of({"sub": "x", "sabot_role": role}).may_write for role in ROLES] == [False, True, True]
