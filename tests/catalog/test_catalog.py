"""Names, registration, what is skipped, and errors that say what to do."""

from __future__ import annotations

import threading

import duckdb
import pyarrow as pa
import pytest

from sabot_sql.errors import ConfigError, NotSupported, PlanError, QueryError, ReadError
from tests.catalog.conftest import columns_of


@pytest.fixture
def folder(tmp_path, oracle):
    oracle.write(tmp_path / "data/orders/0.parquet", "SELECT 1 AS a")
    oracle.write(tmp_path / "data/lineitem.csv", "SELECT 1 AS a")
    return tmp_path / "data"


@pytest.mark.parametrize("name", ["orders", "ORDERS", "main.orders", "Main.Orders", "memory.main.orders", "memory.orders"])
def test_names_are_found_in_any_case_and_with_their_schema(folder, open_catalog, name):
    assert open_catalog(folder).table(name).name == "orders"


@pytest.mark.parametrize(
    "name", ["other.orders", "memory.other.orders", "other.main.orders", "main.memory.orders", "a.b.c.orders"]
)
def test_names_of_other_schemas_are_not_found(folder, open_catalog, name):
    with pytest.raises(PlanError) as caught:
        open_catalog(folder).table(name)
    assert caught.value.problem.code == "UNDEFINED_TABLE"


def test_case_counts_outside_ascii(tmp_path, oracle, open_catalog):
    oracle.write(tmp_path / "Ärger.parquet", "SELECT 1 AS a")
    catalog = open_catalog(tmp_path)
    assert catalog.table("ÄRGER").name == "Ärger"
    with pytest.raises(PlanError):
        catalog.table("ärger")


def test_table_whose_name_has_a_dot_is_one_name(folder, open_catalog):
    catalog = open_catalog({"v1.orders": folder / "orders"})
    assert catalog.table("V1.Orders").name == "v1.orders"
    assert catalog.resolve(("main", "v1.orders")).name == "v1.orders"


def test_unknown_table_suggests_the_nearest(folder, open_catalog):
    with pytest.raises(PlanError, match='table "order" does not exist') as caught:
        open_catalog(folder).table("order")
    assert caught.value.hint == 'did you mean "orders"?'


def test_unknown_table_whose_file_is_skipped_says_so(folder, open_catalog):
    (folder / "prices.xlsx").write_text("")
    with pytest.raises(PlanError, match=r"prices\.xlsx is not read"):
        open_catalog(folder).table("prices")


@pytest.mark.parametrize(
    ("name", "target"), [("gone", "nowhere.parquet"), ("circle", "circle.parquet"), ("sub", "nowhere.parquet")]
)
def test_link_that_leads_nowhere_is_told_as_such(folder, open_catalog, name, target):
    (folder / "sub").mkdir()
    link = folder / ("sub/1.parquet" if name == "sub" else f"{name}.parquet")
    link.symlink_to(target)
    catalog = open_catalog(folder)
    with pytest.raises(PlanError) as caught:
        catalog.table(name)
    why = "it cannot be opened: Too many" if name == "circle" else f"it is a broken link, {target} is gone"
    assert caught.value.hint.startswith(f"{link} is not read: {why}")
    assert any(text.startswith(f"{link}: {why}") for text in catalog.skipped())


def test_duckdb_file_in_a_folder_is_skipped_with_the_reason(folder, open_catalog):
    (folder / "bad.duckdb").write_text("no database at all")
    duckdb.connect(str(folder / "good.duckdb")).close()
    assert set(open_catalog(folder).skipped()) == {
        f"{folder}/bad.duckdb: it is not a DuckDB file",
        f"{folder}/good.duckdb: it is no table: give it as data by itself, or register it",
    }


def test_hidden_and_unknown_files_are_skipped_and_remembered(folder, open_catalog):
    for name in ("_tmp.parquet", ".hidden.csv", "README.md", "orders/_SUCCESS", "orders/notes.txt", "x.duckdb"):
        (folder / name).write_text("")
    (folder / "orders/old").mkdir()
    (folder / "_staging").mkdir()
    catalog = open_catalog(folder)
    assert [table.name for table in catalog.tables()] == ["lineitem", "orders"]
    skipped = {path.removeprefix(f"{folder}/") for path in catalog.skipped()}
    assert skipped == {
        "_tmp.parquet",
        ".hidden.csv",
        "README.md",
        "orders/_SUCCESS",
        "orders/notes.txt",
        "x.duckdb: it is not a DuckDB file",
        "orders/old",
        "_staging",
    }
    assert len(catalog.table("orders").skipped) == 3


def test_empty_folder_has_no_tables(tmp_path, open_catalog):
    catalog = open_catalog(tmp_path)
    assert catalog.tables() == []
    with pytest.raises(PlanError, match="no tables"):
        catalog.table("t")


@pytest.mark.parametrize("data", [None, {}, []])
def test_no_data_is_no_tables(open_catalog, data):
    assert open_catalog(data).tables() == []


def test_missing_folder_says_which_and_what_to_do(tmp_path, open_catalog):
    with pytest.raises(ConfigError, match=f"{tmp_path}/nowhere does not exist") as caught:
        open_catalog(tmp_path / "nowhere")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ("nowhere.parquet", ConfigError, "there is no"),
        ("nothing/*.parquet", ConfigError, "nothing matches"),
        ("notes.txt", ConfigError, "format"),
        ("s3://bucket/x.parquet", NotSupported, "s3"),
        (42, ConfigError, "int"),
        ([], ConfigError, "list"),
    ],
)
def test_sources_that_cannot_be_used_are_refused_at_once(tmp_path, monkeypatch, open_catalog, source, error, text):
    (tmp_path / "notes.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=text):
        open_catalog({"t": source})


def test_mapping_takes_paths_folders_patterns_and_lists(folder, oracle, open_catalog):
    oracle.write(folder / "orders/1.parquet", "SELECT 2 AS a")
    one, two = str(folder / "orders/0.parquet"), str(folder / "orders/1.parquet")
    catalog = open_catalog(
        {"file": one, "folder": folder / "orders", "pattern": str(folder / "orders/?.parquet"), "list": [two, one, two]}
    )
    assert {table.name: table.statistics.rows for table in catalog.tables()} == {
        "file": 1,
        "folder": 2,
        "pattern": 2,
        "list": 3,
    }
    assert oracle.rows_of(catalog.table("list")) == oracle.rows("(VALUES (2), (1), (2)) t(a)")
    assert set(catalog.locations()) == {one, two, str(folder / "orders")}


def test_list_of_folders_and_files_is_all_their_tables(folder, oracle, open_catalog):
    other = oracle.write(folder.parent / "more/customers.parquet", "SELECT 1 AS a")
    catalog = open_catalog([folder, str(other)])
    assert [table.name for table in catalog.tables()] == ["customers", "lineitem", "orders"]
    with pytest.raises(ConfigError, match="several places"):
        open_catalog([folder, folder / "lineitem.csv"])


def test_two_files_of_one_name_are_refused_when_used(folder, oracle, open_catalog):
    oracle.write(folder / "Orders.parquet", "SELECT 1 AS a")
    catalog = open_catalog(folder)
    with pytest.raises(ConfigError, match="rename"):
        catalog.table("orders")
    assert [(table.name, table.error is None) for table in catalog.tables()] == [("lineitem", True), ("Orders", False)]
    (folder / "Orders.parquet").unlink()
    assert catalog.table("orders").statistics.rows == 1


def test_folder_of_several_formats_is_not_supported(folder, open_catalog):
    (folder / "orders/more.csv").write_text("a\n1\n")
    with pytest.raises(NotSupported, match=r"0\.parquet, more\.csv"):
        open_catalog(folder).table("orders")


def test_registered_table_replaces_and_unregister_brings_back(folder, open_catalog):
    catalog = open_catalog(folder)
    with pytest.raises(QueryError, match="exists") as caught:
        catalog.register("Orders", pa.table({"b": [1]}))
    assert caught.value.problem.code == "TABLE_EXISTS"
    version = catalog.version
    catalog.register("Orders", pa.table({"b": ["x"]}), replace=True)
    assert columns_of(catalog.table("orders")) == [("b", "VARCHAR")]
    assert [table.name for table in catalog.tables()] == ["lineitem", "Orders"]
    assert catalog.version > version
    catalog.unregister("ORDERS")
    assert columns_of(catalog.table("orders")) == [("a", "INTEGER")]


def test_unregister_of_what_was_not_registered_says_so(folder, open_catalog):
    catalog = open_catalog(folder)
    with pytest.raises(PlanError, match="comes from data="):
        catalog.unregister("orders")
    with pytest.raises(PlanError, match="does not exist"):
        catalog.unregister("nothing")


def test_any_identifier_is_a_name(open_catalog):
    catalog = open_catalog()
    for name in ("select", "with space", "ü\"'", "a.b", "1"):
        catalog.register(name, pa.table({"a": [1]}))
        assert catalog.table(name).statistics.rows == 1
    with pytest.raises(ConfigError):
        catalog.register("", pa.table({"a": [1]}))


def test_raised_errors_are_copies(folder, open_catalog):
    (folder / "bad.parquet").write_text("x")
    catalog = open_catalog(folder)
    errors = []
    for _ in range(2):
        with pytest.raises(ReadError, match="bad") as caught:
            catalog.table("bad")
        errors.append(caught.value)
    assert errors[0] is not errors[1]


def test_closing_twice_is_fine(folder, open_catalog):
    catalog = open_catalog(folder)
    catalog.table("orders")
    catalog.close()
    catalog.close()


def test_many_threads_get_the_same_table(folder, open_catalog):
    catalog = open_catalog(folder)
    found, errors = [], []

    def look():
        try:
            for i in range(30):
                found.append(catalog.table("orders"))
                catalog.register(f"r{threading.get_ident()}", pa.table({"a": [i]}), replace=True)
                assert catalog.table(f"r{threading.get_ident()}").statistics.columns == {}
                catalog.tables()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len({table.version for table in found}) <= 2
