"""Catalogs, schemas and the first rows of tables."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa

from tests.server.live_server import LiveServer, live_server


def test_there_is_one_catalog_with_one_schema(server: LiveServer) -> None:
    assert server.request("GET", "/v1/catalogs").json() == [
        {"name": "memory", "kind": "parquet", "read_only": False, "tables": 2}
    ]
    assert server.request("GET", "/v1/catalogs/MEMORY/schemas").json() == [{"catalog": "memory", "name": "main", "tables": 2}]
    listed = server.request("GET", "/v1/tables").json()["tables"]
    assert {(table["catalog"], table["schema"]) for table in listed} == {("memory", "main")}


def test_preview_is_the_first_rows(server: LiveServer) -> None:
    found = server.request("GET", "/v1/tables/memory/main/NUMBERS/preview?limit=3").json()
    assert found["rows"] == [[0, "n0", 0.0], [1, "n1", 0.5], [2, "n2", 1.0]]
    assert (found["row_count"], found["truncated"], found["route"]) == (3, False, "local")
    assert len(server.request("GET", "/v1/tables/memory/main/numbers/preview").json()["rows"]) == 100


def test_preview_comes_in_every_inline_format(server: LiveServer) -> None:
    path = "/v1/tables/memory/main/people/preview?limit=2"
    assert server.request("GET", f"{path}&format=csv").data == b"id,name\n1,Ada\n2,\n"
    stream = server.request("GET", path, Accept="application/vnd.apache.arrow.stream")
    assert pa.ipc.open_stream(stream.data).read_all().to_pydict() == {"id": [1, 2], "name": ["Ada", None]}
    assert server.request("GET", f"{path}&format=parquet").status == 406


def test_preview_of_a_table_with_a_strange_name_and_schema(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "a.duckdb")) as con:
        con.execute('CREATE SCHEMA other; CREATE TABLE other."select ""x"" y" AS SELECT 7 AS seven').fetchall()
    with live_server(tmp_path / "a.duckdb", "--agents", "0") as server:
        table = server.request("GET", "/v1/tables").json()["tables"][0]
        assert server.request("GET", "/v1/catalogs").json()[0]["kind"] == "duckdb"
        path = f"/v1/tables/memory/main/{table['name']}/preview".replace('"', "%22").replace(" ", "%20")
        answer = server.request("GET", path)
        assert (answer.status, answer.json().get("rows")) == (200, [[7]]), answer.data
