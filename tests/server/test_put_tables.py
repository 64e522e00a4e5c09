"""Tables over HTTP: made, appended to, replaced and dropped, and read by both routes."""

from __future__ import annotations

import concurrent.futures
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.server.bodies import ARROW, CSV, PARQUET, arrow, drop, parquet, problem, put
from tests.server.live_server import LiveServer, live_server

ROUTES = ("local", "distributed")
ROWS = pa.table({"a": [1, 2, 3], "b": ["x", None, "Zoë"]})


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state=1")  # looks like a Hive folder, and is none


@pytest.fixture(scope="module")
def taking(data: Path, state: Path) -> Iterator[LiveServer]:
    with live_server(data, "--agents", "1", "--state-dir", str(state)) as server:
        yield server


def rows(server: LiveServer, sql: str) -> list[Any]:
    """The rows, which are the same by both routes."""
    found = [server.sql(sql, route=route, wait_ms=60_000)["rows"] for route in ROUTES]
    assert found[0] == found[1]
    return found[0]


def files(state: Path) -> set[Path]:
    """All that lies below the folder of tables, but for folders."""
    return {path for path in (state / "tables").rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (ARROW, arrow(ROWS)),
        (ARROW, arrow(ROWS, "zstd")),
        (PARQUET, parquet(ROWS)),
        (CSV, "a,b\n1,x\n2,\n3,Zoë\n".encode()),
        (f"{CSV}; charset=utf-8", 'a;b\r\n1;x\r\n2;\r\n3;"Zoë"'.encode()),
    ],
    ids=["arrow", "arrow zstd", "parquet", "csv", "csv with semicolons"],
)
def test_a_body_becomes_a_table(taking: LiveServer, kind: str, body: bytes) -> None:
    answer = put(taking, "made", body, kind=kind)
    assert (answer.status, answer.json()) == (201, {"rows": 3})
    assert rows(taking, "FROM made ORDER BY a") == [[1, "x"], [2, None], [3, "Zoë"]]
    table = taking.request("GET", answer.headers["Location"]).json()
    told = {name: table[name] for name in ("name", "kind", "format", "rows", "files", "location", "partitions")}
    assert told == {
        "name": "made", "kind": "table", "format": "parquet", "rows": 3, "files": 1, "location": "uploaded/made",
        "partitions": [],
    }  # fmt: skip
    assert [column["sql_type"] for column in table["columns"]] == ["BIGINT", "VARCHAR"]
    assert drop(taking, "made") == 204
    assert taking.request("POST", "/v1/sql", {"sql": "FROM made"}).json()["code"] == "UNDEFINED_TABLE"
    assert drop(taking, "MADE") == 404


def test_create_append_replace_and_drop(taking: LiveServer, state: Path) -> None:
    before = files(state)
    assert put(taking, "t", ROWS, "create").status == 201
    assert problem(put(taking, "T", ROWS))[:2] == (409, "TABLE_EXISTS")
    assert put(taking, "t", pa.table({"B": ["new"], "a": pa.array([4], pa.int64())}), "append").json() == {"rows": 1}
    assert put(taking, "t", b"b,a\n007,5\n", "append", CSV).status == 201
    assert rows(taking, "FROM t ORDER BY a")[3:] == [[4, "new"], [5, "007"]]
    assert put(taking, "t", parquet(pa.table({"z": [1.5]})), "replace", PARQUET).status == 201
    assert rows(taking, "FROM t") == [[1.5]]
    assert drop(taking, "t") == 204
    assert problem(put(taking, "t", ROWS, "append"))[:2] == (404, "NOT_FOUND")
    assert put(taking, "t", ROWS, "replace").status == 201
    assert drop(taking, "t") == 204
    assert files(state) == before


def test_rows_that_do_not_fit_are_refused_by_the_name_of_the_column(taking: LiveServer) -> None:
    assert put(taking, "narrow", ROWS, "replace").status == 201
    for columns, code, said in (
        ({"a": [1.5], "b": ["x"]}, "TYPE_MISMATCH", 'column "a" is of type BIGINT in table "narrow", and DOUBLE'),
        ({"a": [1]}, "UNDEFINED_COLUMN", 'lack column "b"'),
        ({"a": [1], "b": ["x"], "c": [1]}, "UNDEFINED_COLUMN", 'no column "c"'),
    ):
        status, found, detail = problem(put(taking, "narrow", pa.table(columns), "append"))
        assert (status, found, said in detail) == (400, code, True), detail
    status, code, detail = problem(put(taking, "narrow", b"a,b\n1,x\ntwo,y\n", "append", CSV))
    assert (status, '"a"' in detail or "column" in detail.lower()) == (400, True), detail
    assert put(taking, "narrow", pa.table({"a": pa.nulls(1), "b": pa.nulls(1)}), "append").status == 201
    assert rows(taking, "SELECT count(*), count(a) FROM narrow") == [[4, 3]]


def test_types_come_back_as_they_went(taking: LiveServer) -> None:
    table = pa.table(
        {
            "dictionary": pa.array(["x", None]).dictionary_encode(),
            "decimal": pa.array([None, "1.50"]).cast(pa.decimal128(20, 2)),
            "list": [[1, 2], None],
            "struct": [{"a": 1, "select": "x"}, None],
            "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int32())),
            "zoned": pa.array([0, 1], pa.timestamp("us", "UTC")),
            "half": pa.array([0.5, None], pa.float16()),
            "second": pa.array([0, None], pa.timestamp("s")),
            "bytes": [b"\x00\xff", b""],
            "nothing": pa.nulls(2),
            "view": pa.array(["v", "w"], pa.string_view()),
            "unsigned": pa.array([2**64 - 1, 0], pa.uint64()),
        }
    )
    assert put(taking, "typed", table, "replace").status == 201
    answer = taking.sql("FROM typed", wait_ms=60_000)
    assert [column["sql_type"] for column in answer["columns"]] == [
        "VARCHAR", "DECIMAL(20,2)", "BIGINT[]", 'STRUCT(a BIGINT, "select" VARCHAR)', "MAP(VARCHAR, INTEGER)",
        "TIMESTAMP WITH TIME ZONE", "FLOAT", "TIMESTAMP", "BLOB", "INTEGER", "VARCHAR", "UBIGINT",
    ]  # fmt: skip
    assert answer["rows"][0][:5] == ["x", None, [1, 2], {"a": 1, "select": "x"}, [["k", 1]]]
    assert answer["rows"][1][1] == "1.50"


def test_nested_columns_of_parquet_may_have_equal_names_inside(taking: LiveServer) -> None:
    nested = pa.table({"l": [[1]], "m": [[2]], "s": [{"element": 1, "x": [1]}], "a.b": [1], "a": [[3]], "key": [1]})
    pairs = nested.append_column("mp", pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())))
    for kind, body in ((PARQUET, parquet(pairs)), (ARROW, arrow(pairs))):
        assert put(taking, "nested", body, "replace", kind).status == 201
        assert rows(taking, "SELECT l, m, s.x, a, mp FROM nested") == [[[1], [2], [1], [3], [["k", 1]]]]


def test_a_table_without_rows(taking: LiveServer) -> None:
    assert put(taking, "empty", ROWS.slice(0, 0), "replace").json() == {"rows": 0}
    assert rows(taking, "SELECT count(*) FROM empty") == [[0]]
    assert put(taking, "empty", ROWS, "append").status == 201
    assert rows(taking, "SELECT sum(a) FROM empty") == [["6"]]


def test_tables_that_the_server_was_started_with_are_not_written(taking: LiveServer) -> None:
    assert problem(put(taking, "numbers", ROWS))[:2] == (409, "TABLE_EXISTS")
    for mode in ("append", "replace"):
        status, code, detail = problem(put(taking, "Numbers", ROWS, mode))
        assert (status, code, "started with" in detail) == (403, "READ_ONLY", True)
    assert problem(taking.request("DELETE", "/v1/tables/memory/main/numbers"))[:2] == (403, "READ_ONLY")
    assert rows(taking, "SELECT count(*) FROM numbers") == [[10_000]]


@pytest.mark.parametrize("name", ['a"b', "it's; --", "two words", "€ 日本", "information_schema", "select", "x" * 128])
def test_strange_names_are_names(taking: LiveServer, name: str) -> None:
    from urllib.parse import quote

    assert put(taking, quote(name), ROWS, "replace").status == 201
    quoted = name.replace('"', '""')
    assert rows(taking, f'SELECT count(*) FROM "{quoted}"') == [[3]]
    assert drop(taking, quote(name)) == 204


@pytest.mark.parametrize(
    "name",
    [
        b"..",
        b".",
        b"%2e%2e",
        b"..%2f..%2fx",
        b"a%2fb",
        b"",
        b"%20",
        b"a%00",
        b"a%0a",
        b"a.b",
        b"main.t",
        b"a%5cb",
        b"x" * 129,
        b"%ff",
    ],
)
def test_what_cannot_be_a_name_is_refused(taking: LiveServer, state: Path, name: bytes) -> None:
    before = files(state)
    host, port = taking.url.removeprefix("http://").split(":")
    for method, tail in ((b"PUT", b"/data"), (b"DELETE", b"")):
        with socket.create_connection((host, int(port)), 10) as raw:  # as no client would normalise it
            head = b"%b /v1/tables/memory/main/%b%b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" % (method, name, tail)
            raw.sendall(head + b"Content-Type: text/csv\r\nContent-Length: 4\r\n\r\na\n1\n")
            status = int(raw.makefile("rb").readline().split()[1])
        assert status in (400, 404, 405), name
    assert files(state) == before


def test_a_query_goes_on_with_the_version_it_began_with(taking: LiveServer, state: Path) -> None:
    slow = "SELECT count(*) FROM (SELECT t.a + n.i AS x FROM kept t, numbers n, numbers m) WHERE hash(x) % 1000 <> 1000"
    for route in ROUTES:
        assert put(taking, "kept", ROWS, "replace").status == 201
        (old,) = {path for path in files(state) if "kept" in path.with_name("manifest.json").read_text()} - {
            path for path in files(state) if path.name == "manifest.json"
        }
        submitted = taking.request(
            "POST", "/v1/sql", {"sql": slow, "route": route, "wait_ms": 0}, Idempotency_Key=f"kept {route}"
        )
        path = f"/v1/queries/{submitted.json()['query_id']}"
        while taking.request("GET", path).json()["state"] in ("queued", "planning"):
            time.sleep(0.01)
        assert put(taking, "kept", pa.table({"a": [1]}), "replace").status == 201
        assert rows(taking, "SELECT count(*) FROM kept") == [[1]]
        running = taking.request("GET", path).json()["state"] == "running"
        assert old.exists() or not running
        if route == "local":
            assert drop(taking, "kept") == 204
        status = taking.request("GET", f"{path}?wait_ms=60000").json()
        assert status["state"] == "finished", status
        assert taking.request("GET", f"{path}/result").json()["rows"] == [[3 * 10_000**2]]
        assert put(taking, "kept", ROWS, "replace").status == 201  # the next change removes what nobody reads
        assert not old.exists()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What the calls give, begun together."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        barrier.wait()
        return call()

    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_two_writers_at_once_leave_the_table_of_one(taking: LiveServer) -> None:
    bodies = [arrow(pa.table({"v": [number] * (1000 + number)})) for number in range(4)]
    for _ in range(5):
        answers = at_once(*(lambda body=body: put(taking, "raced", body, "replace").status for body in bodies))
        assert answers == [201] * 4
        count, low, high = rows(taking, "SELECT count(*), min(v), max(v) FROM raced")[0]
        assert (low, count) == (high, 1000 + low)
    assert drop(taking, "raced") == 204
    answers = at_once(*(lambda body=body: put(taking, "raced", body, "create").status for body in bodies))
    assert sorted(answers) == [201, 409, 409, 409]


def test_all_that_append_at_once_are_there(taking: LiveServer) -> None:
    assert put(taking, "grown", pa.table({"v": pa.array([], pa.int64())}), "replace").status == 201
    bodies = [arrow(pa.table({"v": [number] * 100})) for number in range(6)]
    assert at_once(*(lambda body=body: put(taking, "grown", body, "append").status for body in bodies)) == [201] * 6
    assert rows(taking, "SELECT v, count(*) FROM grown GROUP BY v ORDER BY v") == [[number, 100] for number in range(6)]


def test_whoever_reads_meanwhile_sees_one_version(taking: LiveServer) -> None:
    assert put(taking, "shown", pa.table({"v": [0] * 10}), "replace").status == 201
    done = threading.Event()

    def write() -> None:
        for number in range(1, 25):
            assert put(taking, "shown", pa.table({"v": [number] * (10 + number)}), "replace").status == 201
        done.set()

    def read(route: str) -> set[tuple[int, int, int]]:
        seen = set()
        while not done.is_set():
            seen.add(tuple(taking.sql("SELECT count(*), min(v), max(v) FROM shown", route=route, wait_ms=60_000)["rows"][0]))
        return seen

    seen = at_once(write, lambda: read("local"), lambda: read("distributed"))[1:]
    assert all(low == high and count == 10 + low for each in seen for count, low, high in each)


def test_tables_are_there_after_a_restart(data: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with live_server(data, "--agents", "0", "--state-dir", str(state)) as server:
        assert put(server, "kept", ROWS).status == 201
        assert put(server, "kept", ROWS, "append").status == 201
        assert put(server, "gone", ROWS).status == 201
        assert drop(server, "gone") == 204
    (state / "tables" / "incoming" / "left.body").write_bytes(b"x")
    with live_server(data, "--agents", "1", "--state-dir", str(state)) as server:
        assert rows(server, "SELECT count(*), sum(a) FROM kept") == [[6, "12"]]
        assert put(server, "kept", ROWS, "append").status == 201
        assert rows(server, "SELECT count(*) FROM kept") == [[9]]
        assert [t["name"] for t in server.request("GET", "/v1/tables").json()["tables"]] == ["kept", "numbers", "people"]
        assert list((state / "tables" / "incoming").iterdir()) == []


def test_data_of_the_server_goes_before_a_table_of_its_name(data: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    with live_server(None, "--agents", "0", "--state-dir", str(state)) as server:
        assert put(server, "people", pa.table({"other": [1]})).status == 201
    with live_server(data, "--agents", "0", "--state-dir", str(state)) as server:
        assert server.sql("SELECT count(*) FROM people")["rows"] == [[3]]
        assert problem(put(server, "people", ROWS, "replace"))[:2] == (403, "READ_ONLY")
        assert drop(server, "people") == 204
        assert server.sql("SELECT count(*) FROM people")["rows"] == [[3]]
        assert drop(server, "people") == 403


def test_without_a_state_folder_tables_go_with_the_process(data: Path) -> None:
    with live_server(data, "--agents", "1") as server:
        assert put(server, "t", ROWS).status == 201
        assert rows(server, "SELECT count(*) FROM t") == [[3]]
    with live_server(data, "--agents", "0") as server:
        assert server.request("POST", "/v1/sql", {"sql": "FROM t"}).json()["code"] == "UNDEFINED_TABLE"
