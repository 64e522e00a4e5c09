"""Lists come in pages that neither skip nor repeat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.server.live_server import LiveServer, live_server, write_tables


def pages(server: LiveServer, path: str, name: str) -> list[list[dict[str, Any]]]:
    found, cursor = [], ""
    while cursor is not None:
        answer = server.request("GET", f"{path}&cursor={cursor}").json()
        found.append(answer[name])
        cursor = answer["next_cursor"]
    return found


def test_pages_of_queries_are_the_whole_list(server: LiveServer) -> None:
    asked = [server.sql(f"SELECT {i} AS paged")["query_id"] for i in range(7)]
    found = pages(server, "/v1/queries?q=as+paged&limit=3", "queries")
    assert [len(page) for page in found] == [3, 3, 1]
    assert [query["query_id"] for page in found for query in page] == asked[::-1]


def test_query_that_comes_meanwhile_moves_no_page(server: LiveServer) -> None:
    asked = [server.sql(f"SELECT {i} AS steady")["query_id"] for i in range(4)]
    first = server.request("GET", "/v1/queries?q=as+steady&limit=2").json()
    server.sql("SELECT 9 AS steady")
    rest = server.request("GET", f"/v1/queries?q=as+steady&limit=2&cursor={first['next_cursor']}").json()
    assert [query["query_id"] for query in first["queries"] + rest["queries"]] == asked[::-1]
    assert rest["next_cursor"] is None


def test_page_that_holds_all_is_the_last(server: LiveServer) -> None:
    server.sql("SELECT 1 AS whole")
    answer = server.request("GET", "/v1/queries?q=as+whole&limit=1").json()
    assert (len(answer["queries"]), answer["next_cursor"]) == (1, None)


@pytest.mark.slow
def test_pages_go_on_into_earlier_processes(tmp_path: Path) -> None:
    data, state = write_tables(tmp_path / "data"), str(tmp_path / "state")
    options = ("--agents", "1", "--state-dir", state)
    asked = []
    for _ in range(2):
        with live_server(data, *options) as server:
            for i in range(3):
                body = {"sql": f"SELECT {i} + count(*) AS kept FROM people", "route": "distributed"}
                asked.append(server.request("POST", "/v1/sql", body, Idempotency_Key=f"{len(asked)}").json()["query_id"])
            found = pages(server, "/v1/queries?q=as+kept&limit=2", "queries")
            assert [query["query_id"] for page in found for query in page] == asked[::-1]


def test_pages_of_tables_are_the_whole_list(tmp_path: Path) -> None:
    for name in ("c", "a", "e", "b", "d"):
        pq.write_table(pa.table({"x": [1]}), tmp_path / f"{name}.parquet")
    with live_server(tmp_path, "--agents", "0") as server:
        found = pages(server, "/v1/tables?limit=2", "tables")
        assert [[table["name"] for table in page] for page in found] == [["a", "b"], ["c", "d"], ["e"]]
        assert [table["columns"][0]["name"] for table in pages(server, "/v1/tables?columns=1&limit=4", "tables")[1]] == ["x"]


@pytest.mark.parametrize("cursor", ["x", "%00", "e30", "WzFd", "W10", "WyJhIiwiYiJd", "9" * 5000])
@pytest.mark.parametrize("path", ["/v1/queries", "/v1/tables"])
def test_what_is_no_cursor_is_a_bad_request(server: LiveServer, path: str, cursor: str) -> None:
    answer = server.request("GET", f"{path}?cursor={cursor}")
    assert (answer.status, answer.json()["code"]) == (400, "BAD_REQUEST")
