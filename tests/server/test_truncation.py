"""A truncated inline answer links to the whole result, however large that is."""

from __future__ import annotations

from tests.server.live_server import LiveServer


def test_link_of_a_truncated_answer_gives_every_row(server: LiveServer) -> None:
    answer = server.sql("select * from range(300000)", row_limit=10)
    assert answer["truncated"] is True
    whole = server.request("GET", f"/v1/queries/{answer['query_id']}/result?limit=300000&format=csv")
    assert whole.status == 200
    assert whole.data.count(b"\n") == 300_001
