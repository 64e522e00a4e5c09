"""The folder of tables that were put: what a process leaves that ends in the middle, and when files go."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sabot_sql.catalog.catalog import Catalog
from sabot_sql.catalog.stored_manifest import FILE, check_name, folder_name, read_manifest
from sabot_sql.catalog.stored_tables import ContentChanged, StoredTables
from sabot_sql.errors import QueryError
from sabot_sql.types import HUGEINT, Field, SqlType

DYING = """
import os, shutil, sys
from pathlib import Path
from sabot_sql.catalog import stored_manifest, stored_tables
from sabot_sql.types import HUGEINT, Field

COLUMNS = (Field("v", HUGEINT),)
left = int(sys.argv[4])

def dies(call):
    def counted(*args, **options):
        global left
        if left == 0:
            os._exit(9)
        left -= 1
        return call(*args, **options)
    return counted

for name in ("rename", "replace", "fsync", "unlink", "rmdir", "mkdir", "open"):
    setattr(os, name, dies(getattr(os, name)))
left += 1000
store = stored_tables.StoredTables(Path(sys.argv[1]))
made, other = (Path(shutil.copy(sys.argv[2], store.new_file(".parquet"))) for _ in range(2))
left = int(sys.argv[4])
if sys.argv[3] == "drop":
    store.drop("t")
elif sys.argv[3] == "statement":
    store.commit_files("t", [(made, 2), (other, 2)], "replace", columns=COLUMNS, partition_by=("v",), query_id="q")
else:
    old = store.get("t")
    store.commit("t", made, 2, sys.argv[3], old and old.content)
store.sweep(lambda: [])
"""


def new_file(store: StoredTables, *values: int) -> Path:
    path = store.new_file(".parquet")
    pq.write_table(pa.table({"v": values}), path)
    return path


def values(folder: Path, name: str = "t") -> list[int] | None:
    """What a process that starts on the folder finds in the table; None where there is none."""
    store = StoredTables(folder)
    found = store.get(name)
    if found is None:
        return None
    rows = [value for path in store.paths(found) for value in pq.read_table(path)["v"].to_pylist()]
    assert len(rows) == found.rows
    return rows


@pytest.mark.parametrize(
    ("mode", "before", "after"),
    [
        ("create", None, [8, 9]),
        ("append", [1], [1, 8, 9]),
        ("replace", [1], [8, 9]),
        ("drop", [1], None),
        ("statement", [1], [8, 9, 8, 9]),
    ],
)
def test_a_process_that_ends_anywhere_leaves_the_old_or_the_new(
    tmp_path: Path, mode: str, before: list[int] | None, after: list[int] | None
) -> None:
    seen = []
    for step in range(40):
        folder = tmp_path / str(step)
        store = StoredTables(folder)
        if before is not None:
            store.commit("t", new_file(store, *before), len(before), "create")
        made = new_file(store, 8, 9)
        kept = tmp_path / "made.parquet"
        shutil.copy(made, kept)
        ended = subprocess.run([sys.executable, "-c", DYING, str(folder), str(kept), mode, str(step)], check=False).returncode
        found = values(folder)
        assert found in (before, after), (step, found)
        seen.append(found)
        again = StoredTables(folder)
        again.sweep(list)
        assert not any(again.incoming.iterdir())
        named = {path for manifest in again.tables().values() for path in again.paths(manifest)}
        assert {str(path) for path in folder.rglob("*.parquet")} == named
        assert len([path for path in folder.iterdir() if path.is_dir()]) == 1 + len(again.tables())
        if ended == 0:
            break
    else:
        raise AssertionError("it did not end")
    assert seen[0] == before
    assert seen[-1] == after


def test_files_go_when_no_query_is_left_that_ran_then(tmp_path: Path) -> None:
    store = StoredTables(tmp_path / "tables")
    store.commit("t", new_file(store, 1), 1, "create")
    (old,) = map(Path, store.paths(store.tables()["t"]))
    store.commit("t", new_file(store, 2), 1, "replace")
    store.sweep(lambda: ["q_1", "q_2"])
    store.sweep(lambda: ["q_2", "q_3"])
    assert old.exists()
    store.sweep(lambda: ["q_3"])
    assert not old.exists()
    assert len(store.paths(store.tables()["t"])) == 1
    store.drop("T")
    store.sweep(list)
    assert [path.name for path in store.folder.iterdir()] == ["incoming"]


def test_rows_made_for_another_content_are_not_appended(tmp_path: Path) -> None:
    store = StoredTables(tmp_path / "tables")
    first = store.commit("t", new_file(store, 1), 1, "create")
    second = store.commit("t", new_file(store, 2), 1, "append", first.content)
    assert second.content == first.content
    store.commit("t", new_file(store, 3), 1, "replace")
    with pytest.raises(ContentChanged):
        store.commit("t", new_file(store, 4), 1, "append", first.content)
    store.drop("t")
    with pytest.raises(ContentChanged):
        store.commit("t", new_file(store, 4), 1, "append", first.content)


def test_a_query_commits_once_also_in_a_store_that_is_opened_again(tmp_path: Path) -> None:
    store = StoredTables(tmp_path / "tables")
    columns = (Field("v", HUGEINT), Field("e", SqlType("ENUM", names=("it's",))))
    made = store.commit_files("t", [(new_file(store, 1), 1)], "create", columns=columns, partition_by=("v",), query_id="q_1")
    store = StoredTables(store.folder)
    found = store.get("t")
    assert found == made
    for _ in range(2):
        store.commit_files("t", [(new_file(store, 2, 3), 2)], "append", made.content, query_id="q_2")
    store.commit_files("t", [(new_file(store, 4), 1)], "replace", query_id="q_3")
    store.commit_files("t", [(new_file(store, 5), 1)], "append", made.content, query_id="q_2")
    found = StoredTables(store.folder).get("t")
    assert found is not None
    assert (values(store.folder), found.commits) == ([4], (("q_1", 1), ("q_2", 2), ("q_3", 1)))


def test_views_are_kept_and_are_no_tables(tmp_path: Path) -> None:
    store = StoredTables(tmp_path / "tables")
    store.define_view("v", "SELECT 1 AS a", (Field("a", SqlType("GEOMETRY('x')")),), False)
    store = StoredTables(store.folder)
    found = store.get("v")
    assert found is not None
    assert (store.has_views, found.view, str(found.columns[0].type)) == (True, "SELECT 1 AS a", "GEOMETRY('x')")
    for mode in ("create", "append", "replace"):
        with pytest.raises(QueryError, match="is a view"):
            store.check("V", mode)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="exists"):
        store.define_view("v", "SELECT 2", (), False)
    store.commit("t", new_file(store, 1), 1, "create")
    with pytest.raises(QueryError, match="is a table"):
        store.define_view("t", "SELECT 2", (), True)
    store.drop("v")
    assert not store.has_views


def test_a_manifest_that_cannot_be_read_leaves_the_other_tables(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = StoredTables(tmp_path / "tables")
    for name in ("good", "bad", "newer"):
        store.commit(name, new_file(store, 1), 1, "create")
    folder = store.folder / folder_name("bad")
    (folder / FILE).write_text("{")
    (store.folder / folder_name("newer") / FILE).write_text('{"format": 3}')
    again = StoredTables(store.folder)
    assert list(again.tables()) == ["good"]
    assert "cannot be read" in caplog.text
    again.sweep(list)
    assert len(list(folder.glob("*.parquet"))) == 1
    with pytest.raises(ValueError, match="format"):
        read_manifest(store.folder / folder_name("newer"))


def test_a_catalog_sees_what_another_of_its_process_puts(tmp_path: Path) -> None:
    store = StoredTables(tmp_path / "tables")
    with Catalog(None, stored=store) as one, Catalog({"mine": pa.table({"x": [1]})}, stored=store) as other:
        store.commit("t", new_file(store, 1, 2), 2, "create")
        version = other.table("t").version
        assert [table.statistics.rows for table in (one.table("t"), other.table("main.T"))] == [2, 2]
        store.commit("t", new_file(store, 3), 1, "append", store.tables()["t"].content)
        assert (other.table("t").statistics.rows, other.table("t").version > version) == (3, True)
        assert [table.name for table in other.tables()] == ["mine", "t"]
        with pytest.raises(QueryError, match="exists"):
            other.register("t", pa.table({"x": [1]}))
        one.drop("t")
        assert [table.name for table in other.tables()] == ["mine"]


@pytest.mark.parametrize(
    "name", ["", " a", "a ", ".", "..", "a/b", "a\\b", "a\0", "a\nb", "a\ud800", "\ufffd", "x" * 129, "a.b"]
)
def test_names_that_tables_cannot_have(name: str) -> None:
    with pytest.raises(QueryError, match="cannot be the name"):
        check_name(name)
