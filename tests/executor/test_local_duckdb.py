import datetime as dt
import os
import threading
import time
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sabot_sql.catalog.catalog import Catalog
from sabot_sql.config import LocalSettings
from sabot_sql.errors import Cancelled, OutOfMemory, PlanError, QueryError, QueryTimeout, ReadError
from sabot_sql.executor.local_duckdb import LocalDuckDB
from sabot_sql.planner.parameters import bound_parameters
from sabot_sql.planner.parse import parse
from sabot_sql.planner.physical import Session
from sabot_sql.planner.policy import check

ENDLESS = "select count(*) from range(100000000) a, range(100000) b"


class Local:
    """The local route as a query takes it: parse, policy, execute."""

    def __init__(self, catalog: Catalog, **settings) -> None:
        self.catalog = catalog
        self.engine = LocalDuckDB(LocalSettings(threads=2, memory_bytes=1 << 30, **settings), catalog.locations)

    def run(self, sql, params=None, timeout_s=None, cancel=None, timezone="UTC"):
        statement = parse(sql)
        tables = check(statement, self.catalog.resolve)
        values = bound_parameters(statement, params)
        return self.engine.execute(statement.sql, values, tables, Session(timezone), timeout_s, cancel)

    def error(self, sql, params=None, **options):
        with pytest.raises(Exception) as caught:
            self.run(sql, params, **options)
        return caught.value


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    rows = pa.table(
        {
            "id": range(1000),
            "g": [i % 7 for i in range(1000)],
            "v": [i / 10 for i in range(1000)],
            "s": [f"s{i % 5}" for i in range(1000)],
        }
    )
    pq.write_table(rows, data / "t.parquet")
    (data / "c.csv").write_text("a,b\n1,x\n2,\n")
    (data / "j.ndjson").write_text('{"a": 1}\n{"a": 2}\n')
    with pa.OSFile(str(data / "i.arrow"), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    return data


@pytest.fixture
def local(folder):
    with Catalog(str(folder)) as catalog:
        found = Local(catalog)
        yield found
        found.engine.close()


def test_each_format_is_read(local):
    assert local.run("select count(*) n from t").to_pylist() == [{"n": 1000}]
    assert local.run("select * from c order by a").to_pylist() == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    assert local.run("select sum(a) from j").column(0).to_pylist() == [Decimal(3)]
    assert local.run("select max(id) from i where g = 3").column(0).to_pylist() == [997]


def test_native_tables_are_attached_read_only(tmp_path):
    path = tmp_path / "x.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("create table a as select range r from range(5)").fetchall()
        con.execute("create schema s").fetchall()
        con.execute("create table s.b as select 7 x").fetchall()
    with Catalog(str(path)) as catalog:
        local = Local(catalog)
        assert local.run("select count(*) from a, s.b").column(0).to_pylist() == [5]
        local.engine.close()


def test_registered_tables_are_seen_under_any_name(tmp_path):
    with Catalog({"m": pa.table({"x": [1, 2]}), "A b": pa.table({"y": [3]}), "s.n": pa.table({"z": [4]})}) as catalog:
        local = Local(catalog)
        assert local.run('select x + y + z from m, "A b", s.n order by 1').column(0).to_pylist() == [8, 9]
        assert local.run('select z from "s.n"').column(0).to_pylist() == [4]
        catalog.register("m", pa.table({"x": ["new"]}), replace=True)
        assert local.run("from m").to_pylist() == [{"x": "new"}]
        local.engine.close()


def test_names_and_types_are_duckdbs(local):
    sql = "select 1 a, 2 a, sum(id), avg(v), 1.5::decimal(4,1), date '2020-01-01', 1::hugeint, [1], {'k': 'v'}, null from t"
    with duckdb.connect() as con:
        con.execute("set TimeZone = 'UTC'").fetchall()
        con.execute(f"create view t as from '{local.catalog.table('t').scan.files[0].path}'").fetchall()
        assert local.run(sql).schema == con.sql(sql).to_arrow_table().schema


def test_parameters_are_bound_natively(local):
    assert local.run(
        "select $a + id x from t where s = $b and id < 10 order by 1 limit 1", {"a": 100, "b": "s3"}
    ).to_pylist() == [{"x": 103}]
    assert local.run("select ? || ?", ["a", "b"]).column(0).to_pylist() == ["ab"]


def test_pivot_without_in_looks_at_the_data(local):
    assert local.run("pivot t on g using count(*) group by s order by s").column_names == ["s", *map(str, range(7))]


def test_time_zone_is_the_sessions(local):
    sql = "select timestamptz '2020-01-01 00:00:00Z' t, (timestamptz '2020-01-01 00:00:00Z')::varchar s"
    tokyo, utc = local.run(sql, timezone="Asia/Tokyo"), local.run(sql)
    assert tokyo.schema.field("t").type.tz == "Asia/Tokyo"
    assert (tokyo["s"][0].as_py(), utc["s"][0].as_py()) == ("2020-01-01 09:00:00+09", "2020-01-01 00:00:00+00")


def test_many_time_zones_keep_working(local):
    for zone in ("UTC", "Europe/Rome", "Asia/Tokyo", "America/Lima", "Africa/Cairo", "UTC"):
        assert local.run("select count(*) from t", timezone=zone).column(0).to_pylist() == [1000]


def test_unknown_time_zone_is_named(local):
    assert "Mars/Base" in local.error("select 1", timezone="Mars/Base").detail


def test_replaced_file_is_seen_by_the_next_query(local, folder):
    assert local.run("select count(*) from t").column(0).to_pylist() == [1000]
    pq.write_table(pa.table({"other": [1, 2, 3]}), folder / "t.parquet")
    assert local.run("select sum(other) from t").column(0).to_pylist() == [Decimal(6)]


def test_new_file_in_the_folder_is_seen(local, folder):
    pq.write_table(pa.table({"z": [5]}), folder / "later.parquet")
    assert local.run("from later").to_pylist() == [{"z": 5}]


def test_table_registered_later_elsewhere_is_readable(local, tmp_path):
    local.run("select 1")
    (tmp_path / "far").mkdir()
    pq.write_table(pa.table({"z": [6]}), tmp_path / "far" / "f.parquet")
    local.catalog.register("far", str(tmp_path / "far" / "f.parquet"))
    assert local.run("select z, count(*) from far, t group by z").to_pylist() == [{"z": 6, "count_star()": 1000}]


def test_linked_file_outside_the_folder_is_readable_as_a_table_only(local, folder, tmp_path):
    pq.write_table(pa.table({"z": [7]}), tmp_path / "target.parquet")
    os.symlink(tmp_path / "target.parquet", folder / "link.parquet")
    assert local.run("from link").to_pylist() == [{"z": 7}]


def test_running_query_keeps_the_old_instance(local, tmp_path):
    found = []
    thread = threading.Thread(
        target=lambda: found.append(local.run("select count(*) from t, range(3000000)").column(0)[0].as_py())
    )
    thread.start()
    time.sleep(0.05)
    pq.write_table(pa.table({"z": [6]}), tmp_path / "f.parquet")
    local.catalog.register("far", str(tmp_path / "f.parquet"))
    assert local.run("from far").num_rows == 1
    thread.join()
    assert found == [3_000_000_000]


def test_instance_is_locked_behind_the_policy(local, tmp_path):
    (tmp_path / "secret.csv").write_text("a\n1\n")
    local.run("select count(*) from t")
    for sql in (
        f"select * from '{tmp_path}/secret.csv'",
        f"select * from read_text('{tmp_path}/secret.csv')",
        "select * from glob('/etc/*')",
        "set threads = 1",
        "set enable_external_access = true",
        f"copy (select 1) to '{tmp_path}/out.csv'",
        f"attach '{tmp_path}/out.db'",
        "install httpfs",
        "load httpfs",
    ):
        with pytest.raises((QueryError, ReadError, PlanError)):
            local.engine.execute(sql, None, local.catalog.tables(), Session())
    assert not (tmp_path / "out.csv").exists()
    assert not (tmp_path / "out.db").exists()


def test_python_variables_are_no_tables(local):
    frame = pa.table({"x": [1]})
    with pytest.raises(PlanError, match="frame"):
        local.engine.execute("select * from frame", None, (), Session())
    assert frame.num_rows == 1


def test_timeout_stops_the_query_soon(local):
    start = time.perf_counter()
    error = local.error(ENDLESS, timeout_s=0.2)
    assert isinstance(error, QueryTimeout)
    assert "0.2 s" in error.detail
    assert time.perf_counter() - start < 3


def test_cancel_stops_the_query_soon(local):
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    start = time.perf_counter()
    assert isinstance(local.error(ENDLESS, cancel=cancel, timeout_s=60), Cancelled)
    assert time.perf_counter() - start < 3


def test_cancelled_before_the_start_does_not_run(local):
    cancel = threading.Event()
    cancel.set()
    assert isinstance(local.error("select 1", cancel=cancel), Cancelled)


def test_engine_works_after_timeouts_and_cancels(local):
    for _ in range(3):
        local.error(ENDLESS, timeout_s=0.05)
    assert local.run("select 1 a").to_pylist() == [{"a": 1}]


def test_one_thread_watches_all_queries(local):
    before = threading.active_count()
    threads = [threading.Thread(target=lambda: local.error(ENDLESS, timeout_s=0.3)) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.15)
    assert threading.active_count() <= before + 4 + 1
    for thread in threads:
        thread.join()


def test_queries_run_beside_each_other(local):
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.extend(local.run(f"select {n} + count(*) from t").column(0).to_pylist()))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [1000 + n for n in range(12)]


def test_out_of_memory_is_its_own_error(folder):
    with Catalog(str(folder)) as catalog:
        local = Local(catalog)
        local.engine = LocalDuckDB(LocalSettings(threads=1, memory_bytes=40 << 20), catalog.locations)
        error = local.error("select list(a.id), list(b.id) from t a, t b, range(100) group by a.g")
        assert isinstance(error, OutOfMemory)
        local.engine.close()


def test_missing_file_is_named(local, folder):
    tables = check(parse("from t"), local.catalog.resolve)
    os.remove(folder / "t.parquet")
    with pytest.raises(ReadError, match=r"t\.parquet") as caught:
        local.engine.execute("select sum(v) from t", None, tables, Session())
    assert caught.value.problem.code == "FILE_MISSING"


def test_file_cut_short_after_it_was_looked_at_is_named(local, folder):
    tables = check(parse("from t"), local.catalog.resolve)
    local.engine.execute("select 1 from t limit 1", None, tables, Session())
    (folder / "t.parquet").write_bytes(b"PAR1 no parquet")
    with pytest.raises(ReadError, match=r"t\.parquet") as caught:
        local.engine.execute("select sum(v) from t", None, tables, Session())
    assert caught.value.problem.code == "FILE_CORRUPT"


ERRORS = [
    ("select foo from t", "UNDEFINED_COLUMN", 8, None),
    ("select idd from t", "UNDEFINED_COLUMN", 8, 'did you mean "id"?'),
    ("select t.vv from t", "UNDEFINED_COLUMN", 10, None),
    ("select x.id from t", "UNDEFINED_TABLE", 8, None),
    ("select * exclude (nope) from t", "UNDEFINED_COLUMN", 19, None),
    ("select abss(id) from t", "UNDEFINED_FUNCTION", 8, 'did you mean "abs"?'),
    ("select sums(id) from t", "UNDEFINED_FUNCTION", 8, 'did you mean "sum"?'),
    ("select id from t a, t b", "AMBIGUOUS_COLUMN", 8, "write a.id or b.id"),
    ("select sum(s) from t", "TYPE_MISMATCH", 8, None),
    ("select id + s from t", "TYPE_MISMATCH", None, None),
    ("select 'x'::int", "INVALID_VALUE", 11, None),
    ("select cast(99999999999 as int)", "INVALID_VALUE", 8, None),
    ("select 127::tinyint + 1::tinyint", "INVALID_VALUE", None, None),
    ("select strptime('abc', '%Y')", "INVALID_VALUE", None, None),
    ("select error('boom')", "INVALID_VALUE", None, None),
    ("select 1 // 0", "DIVISION_BY_ZERO", None, None),
    ("select id % 0 from t", "DIVISION_BY_ZERO", None, None),
    ("select id, sum(v) from t", "BAD_REQUEST", None, None),
    ("select row_number() from t", "BAD_REQUEST", None, None),
    ("select 170141183460469231731687303715884105727::hugeint h", "INVALID_VALUE", None, None),
    ("select id from t order by 5", "BAD_REQUEST", None, None),
]


@pytest.mark.parametrize(("sql", "code", "column", "hint"), ERRORS, ids=[e[0] for e in ERRORS])
def test_errors_have_code_position_and_hint(local, sql, code, column, hint):
    error = local.error(sql)
    assert error.problem.code == code
    assert column is None or error.position.column == column
    assert hint is None or error.hint == hint


def test_caret_stands_under_the_column_of_a_later_line(local):
    error = local.error("select id,\n\tnope\nfrom t")
    assert str(error).splitlines()[:3] == ['column "nope" does not exist (line 2, column 2)', "  \tnope", "  \t^^^^"]


def test_name_inside_a_string_or_comment_is_not_pointed_at(local):
    assert local.error("select 'nope', /* nope */ nope from t").position.column == 27


def test_now_is_now(local):
    assert abs(local.run("select now() n")["n"][0].as_py() - dt.datetime.now(dt.UTC)) < dt.timedelta(seconds=10)


def test_nothing_is_left_in_the_temporary_folder(local, tmp_path):
    local.run("select * from t order by v desc")
    local.engine.close()
    assert local.engine._instances == {}
