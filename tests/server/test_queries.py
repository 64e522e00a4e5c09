from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sabot_sql.client.contract import ARROW_STREAM
from tests.server.live_server import LONG_QUERY, LiveServer


def started(server: LiveServer, **fields: object) -> str:
    answer = server.request("POST", "/v1/sql", {"sql": LONG_QUERY, "route": "local", "wait_ms": 0, **fields})
    assert answer.status == 202, answer.data
    return str(answer.json()["query_id"])


def test_status_tells_what_the_contract_says(server: LiveServer) -> None:
    query_id = server.sql("SELECT 1 one", tags={"app": "test"})["query_id"]
    found = server.request("GET", f"/v1/queries/{query_id}").json()
    assert (found["query_id"], found["state"], found["sql"]) == (query_id, "finished", "SELECT 1 one")
    assert (found["user"], found["error"], found["tags"]) == ("anonymous", None, {"app": "test"})
    assert found["progress"]["fraction"] == 1.0
    assert found["submitted_at"] <= found["finished_at"]
    assert found["submitted_at"].endswith("Z")
    assert found["links"]["result"] == f"/v1/queries/{query_id}/result"


@pytest.mark.parametrize("verb", ["POST", "DELETE"])
def test_running_query_is_cancelled(server: LiveServer, verb: str) -> None:
    query_id = started(server)
    path = f"/v1/queries/{query_id}"
    answer = server.request(verb, f"{path}/cancel" if verb == "POST" else path)
    assert answer.status in (200, 202)
    assert answer.json()["query_id"] == query_id
    found = server.request("GET", f"{path}?wait_ms=10000").json()
    assert (found["state"], found["error"]["code"]) == ("cancelled", "CANCELLED")
    again = server.request("POST", f"{path}/cancel")
    assert (again.status, again.json()["state"]) == (200, "cancelled")
    assert server.request("GET", f"{path}/result").status == 409


def test_result_of_a_running_query_is_a_conflict(server: LiveServer) -> None:
    query_id = started(server, timeout_ms=5000)
    answer = server.request("GET", f"/v1/queries/{query_id}/result")
    assert (answer.status, answer.json()["code"]) == (409, "QUERY_NOT_FINISHED")
    server.request("POST", f"/v1/queries/{query_id}/cancel")


def test_result_comes_in_every_format_and_in_parts(server: LiveServer) -> None:
    path = f"/v1/queries/{server.sql('SELECT i FROM numbers ORDER BY i')['query_id']}/result"
    arrow = pa.ipc.open_stream(server.request("GET", path, Accept=ARROW_STREAM).data).read_all()
    parquet = pq.read_table(pa.BufferReader(server.request("GET", f"{path}?format=parquet").data))
    assert (arrow.num_rows, parquet.num_rows) == (10_000, 10_000)
    assert server.request("GET", f"{path}?format=csv&offset=5&limit=2").data == b"i\n5\n6\n"
    assert server.request("GET", f"{path}?offset=9999&limit=9").json()["rows"] == [[9999]]


def test_list_is_newest_first_and_filtered(server: LiveServer) -> None:
    first, second = (server.sql(f"SELECT {n} AS listed")["query_id"] for n in (1, 2))
    found = server.request("GET", "/v1/queries?state=finished&q=as listed&limit=2").json()
    assert [query["query_id"] for query in found["queries"]] == [second, first]
    assert found["next_cursor"] is None
    assert server.request("GET", "/v1/queries?user=somebody").json()["queries"] == []
    assert server.request("GET", "/v1/queries?since=2999-01-01T00:00:00Z").json()["queries"] == []


def test_list_filters_before_it_takes_the_newest(server: LiveServer) -> None:
    wanted = server.sql("SELECT 'one among many'")["query_id"]
    for _ in range(3):
        server.sql("SELECT 'another'")
    found = server.request("GET", "/v1/queries?q=ONE among&limit=1").json()["queries"]
    assert [query["query_id"] for query in found] == [wanted]
    since = found[0]["submitted_at"]
    assert len(server.request("GET", f"/v1/queries?since={since}&limit=4").json()["queries"]) == 4


def test_deleted_result_is_gone_and_its_query_expired(server: LiveServer) -> None:
    path = f"/v1/queries/{server.sql('SELECT 1')['query_id']}"
    for _ in range(2):
        answer = server.request("DELETE", path)
        assert (answer.status, answer.json()["state"]) == (200, "expired")
    assert server.request("GET", path).json()["state"] == "expired"
    gone = server.request("GET", f"{path}/result")
    assert (gone.status, gone.json()["code"]) == (410, "RESULT_EXPIRED")


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT 1 a, INTERVAL 1 DAY b", "INTERVAL"),
        ("SELECT 1 a, [INTERVAL 1 DAY] b", "INTERVAL[]"),
        ("SELECT 1 a, union_value(k := 1) b", "UNION"),
        ("SELECT 1 a, 'infinity'::TIMESTAMP_S b", "TIMESTAMP_S"),
    ],
)
def test_type_that_parquet_has_not_is_named_with_its_column(server: LiveServer, sql: str, kind: str) -> None:
    path = f"/v1/queries/{server.sql(sql)['query_id']}/result"
    problem = server.request("GET", f"{path}?format=parquet").json()
    assert (problem["status"], problem["code"]) == (400, "NOT_SUPPORTED")
    assert problem["detail"].startswith(f'column "b" has the type {kind}')
    assert '"b"::VARCHAR' in problem["hint"]
    assert server.request("GET", f"{path}?format=arrow").status == 200
