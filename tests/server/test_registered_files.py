"""`POST /v1/tables`: files that lie on the server become tables, below the folders that its settings name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.server.bodies import drop, problem, put
from tests.server.live_server import LiveServer, live_server


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is allowed, beside a file that is not."""
    parent = tmp_path_factory.mktemp("files")
    folder = parent / "lake"
    (folder / "trips" / "year=2026").mkdir(parents=True)
    pq.write_table(pa.table({"k": [1, 2]}), folder / "trips" / "year=2026" / "a.parquet")
    (folder / "c.csv").write_text("a,b\n1,2\n")
    (folder / "empty").mkdir()
    pq.write_table(pa.table({"hidden": [1]}), parent / "secret.parquet")
    (folder / "link.parquet").symlink_to(parent / "secret.parquet")
    (folder / "out").symlink_to(parent)
    (parent / "lake2").mkdir()
    pq.write_table(pa.table({"hidden": [1]}), parent / "lake2" / "a.parquet")
    return folder


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def allowing(data: Path, lake: Path, state: Path) -> Iterator[LiveServer]:
    folders = json.dumps([str(lake)])
    with live_server(data, "--agents", "1", "--state-dir", str(state), SABOT_TABLES__FOLDERS=folders) as server:
        yield server


def register(server: LiveServer, name: str, uri: object, kind: str = "parquet", **more: Any) -> Any:
    return server.request("POST", "/v1/tables", {"name": name, "source": {"type": kind, "uri": str(uri)}, **more})


def test_a_folder_becomes_a_table(allowing: LiveServer, lake: Path) -> None:
    assert register(allowing, "trips", lake / "trips").status == 201
    assert problem(register(allowing, "Trips", lake / "trips"))[:2] == (409, "TABLE_EXISTS")
    assert register(allowing, "trips", lake / "trips" / "*" / "*.parquet", replace=True).status == 201
    for route in ("local", "distributed"):
        assert allowing.sql("FROM trips ORDER BY k", route=route, wait_ms=60_000)["rows"] == [[1, 2026], [2, 2026]]
    table = allowing.request("GET", "/v1/tables/memory/main/trips").json()
    assert (table["kind"], table["partitions"]) == ("external", ["year"])
    assert problem(put(allowing, "trips", pa.table({"k": [3]}), "append"))[:2] == (400, "BAD_REQUEST")
    assert register(allowing, "lines", lake / "c.csv", "csv").status == 201
    assert drop(allowing, "trips") == 204
    assert (lake / "trips" / "year=2026" / "a.parquet").exists()


@pytest.mark.parametrize(
    "uri",
    ["../secret.parquet", "link.parquet", "*.parquet", "out", "out/*.parquet", "**/*.parquet", "../lake2", "../lake2/*.parquet",
     "/", "/etc/*", "/**"],
)  # fmt: skip
def test_what_lies_elsewhere_is_refused(allowing: LiveServer, lake: Path, uri: str) -> None:
    assert problem(register(allowing, "secret", f"{lake}/{uri}" if uri[0] != "/" else uri))[:2] == (403, "PERMISSION_DENIED")


def test_what_is_no_table_is_refused(allowing: LiveServer, lake: Path) -> None:
    for uri, kind, said in (
        (lake / "nothing", "parquet", "nothing that can be read"),
        (lake / "empty", "parquet", "nothing that can be read"),
        (lake / "c.csv", "parquet", "holds csv"),
    ):
        status, _, detail = problem(register(allowing, "none", uri, kind))
        assert (status, said in detail) == (400, True), detail
    assert register(allowing, "a.b", lake / "trips").status == 400
    assert register(allowing, "numbers", lake / "trips", replace=True).status == 403
    assert register(allowing, "t", lake / "trips", how="well").status == 400


def test_it_is_there_after_a_restart_where_its_folder_is_not_named_any_more(data: Path, lake: Path, tmp_path: Path) -> None:
    options = ("--agents", "0", "--state-dir", str(tmp_path))
    with live_server(data, *options, SABOT_TABLES__FOLDERS=json.dumps([str(lake)])) as server:
        assert register(server, "lines", lake / "c.csv", "csv").status == 201
    with live_server(data, *options) as server:
        assert server.sql("FROM lines")["rows"] == [[1, 2]]
        status, code, detail = problem(register(server, "more", lake / "c.csv", "csv"))
        assert (status, code, "registers no files" in detail) == (403, "PERMISSION_DENIED", True)
        assert drop(server, "lines") == 204
