"""Statements that write, on an engine in this process: names, types and values as DuckDB's, whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from sabot_sql.client.result import Result
from sabot_sql.errors import QueryError, SabotError

ROWS = 50_000

TYPES = """SELECT true AS b, 1::TINYINT AS i8, 2::UBIGINT AS u64, 12345678901234567890123456789012345678::HUGEINT AS h,
 7::UHUGEINT AS uh, 1.5::DECIMAL(20,3) AS d, 0.5::FLOAT AS f, 'ä' AS s, '\\xFF'::BLOB AS bl, DATE '2020-02-29' AS dt,
 TIME '10:11:12.5' AS tm, TIMESTAMP '2020-01-01 00:00:00.000001' AS ts, '2020-01-01'::TIMESTAMP_S AS tss,
 '2020-01-01'::TIMESTAMP_MS AS tms, '2020-01-01 00:00:00.000000001'::TIMESTAMP_NS AS tns,
 TIMESTAMPTZ '2020-01-01 00:00:00+02' AS tz, 'b'::ENUM('a', 'b') AS e, [1, NULL, 3] AS l, [1, 2, 3]::INTEGER[3] AS arr,
 {'x': 1::HUGEINT, 'y': ['p', 'q']} AS st, MAP {'k': 1.25::DECIMAL(5,2)} AS m,
 '00000000-0000-0000-0000-000000000001'::UUID AS u, '{"a": 1}'::JSON AS j"""


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("facts")
    values = {"k": [i % 7 for i in range(ROWS)], "v": list(range(ROWS)), "s": [f"x{i % 13}" for i in range(ROWS)]}
    pq.write_table(pa.table(values), folder / "facts.parquet", row_group_size=5_000)
    return folder


@pytest.fixture(scope="module")
def db(facts: Path) -> Iterator[sabot_sql.Connection]:
    with sabot_sql.connect(data=str(facts), writable=True, num_local_agents=2) as db:
        yield db


def code_of(db: sabot_sql.Connection, sql: str, **options: Any) -> str:
    with pytest.raises(SabotError) as caught:
        db.execute_sql(sql, **options)
    return caught.value.problem.code


def shown(result: Result) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in result.to_pylist()]


def test_the_query_around_a_view_gives_it_no_columns() -> None:
    with sabot_sql.connect(writable=True, num_local_agents=0) as db:
        db.execute_sql("create table t as select 1 a")
        db.execute_sql("create table o as select 9 a")
        db.execute_sql("create view v as select a from t")
        db.execute_sql("create view w as select (select max(a) from v) as m from o")
        assert shown(db.execute_sql("select a, (select max(a) from v) from o")) == [(9, 1)]
        db.execute_sql("create or replace table t as select 1 c")
        for sql in ("select a, (select max(a) from v) from o", "select l.* from o, lateral (from v) l", "from v", "from w"):
            with pytest.raises(SabotError, match='the view "v" cannot be read: .*column "a"'):
                db.execute_sql(sql)


def test_without_a_writable_catalog_nothing_is_written(facts: Path) -> None:
    with sabot_sql.connect(data=str(facts), num_local_agents=0) as db:
        for sql in (
            "CREATE TABLE t AS SELECT 1",
            "INSERT INTO facts SELECT 1",
            "DROP TABLE facts",
            "CREATE VIEW v AS SELECT 1",
        ):
            with pytest.raises(SabotError) as caught:
                db.execute_sql(sql)
            assert caught.value.problem.sqlstate == "25006"
        assert code_of(db, "COPY (SELECT 1) TO 'x.parquet'") == "PERMISSION_DENIED"


@pytest.mark.parametrize(
    "sql",
    [
        "WITH q AS (INSERT INTO t SELECT 1 RETURNING *) SELECT * FROM q",
        "CREATE TABLE t2 AS WITH q AS (DELETE FROM t RETURNING *) SELECT * FROM q",
        "CREATE TABLE t2 AS SELECT * FROM read_csv('/etc/passwd')",
        "CREATE TABLE t2 AS SELECT * FROM '/etc/passwd'",
        "CREATE VIEW t2 AS SELECT getenv('HOME')",
        "INSERT INTO facts SELECT * FROM glob('*')",
        "SET threads = 1", "ATTACH 'x.db'", "INSTALL httpfs", "PRAGMA version", "CALL pragma_version()", "EXPORT DATABASE 'x'",
        "COPY (SELECT 1) TO '/tmp/x.parquet'", "COPY facts FROM 'x.parquet'", "CHECKPOINT", "BEGIN",
    ],
)  # fmt: skip
def test_a_writer_gets_nowhere_that_a_reader_does_not(db: sabot_sql.Connection, sql: str) -> None:
    assert code_of(db, sql) in ("READ_ONLY", "PERMISSION_DENIED")


def test_one_statement_at_a_time(db: sabot_sql.Connection) -> None:
    assert code_of(db, "CREATE TABLE two AS SELECT 1; DROP TABLE two") == "MULTIPLE_STATEMENTS"


@pytest.mark.parametrize("route", ["local", "distributed"])
def test_rows_go_into_a_table_and_come_out_of_it(db: sabot_sql.Connection, route: Any) -> None:
    name = f"rows_{route}"
    made = db.execute_sql(f"CREATE TABLE {name} AS SELECT k, v, s FROM facts", route=route)
    assert (made.route, made.statement_type, made.rows_affected) == (route, "CREATE TABLE AS", ROWS)
    assert (made.columns, made.sql_types, shown(made)) == (["Count"], ["BIGINT"], [(ROWS,)])
    added = db.execute_sql(f"INSERT INTO {name} SELECT k, v, s FROM {name} WHERE v < 10", route=route)
    assert (added.statement_type, added.rows_affected) == ("INSERT", 10)
    for asked in ("local", "distributed"):
        found = shown(db.execute_sql(f"SELECT count(*), sum(v)::BIGINT, max(s) FROM {name}", route=asked))  # type: ignore[arg-type]
        assert found == [(ROWS + 10, ROWS * (ROWS - 1) // 2 + 45, "x9")]
    assert db.table(name)["rows"] == ROWS + 10


@pytest.mark.parametrize("route", ["local", "distributed"])
def test_the_order_of_rows_is_kept(db: sabot_sql.Connection, route: Any) -> None:
    db.execute_sql("CREATE OR REPLACE TABLE ordered AS SELECT v FROM facts ORDER BY k, v DESC", route=route)
    with duckdb.connect() as con:
        wanted = con.execute(f"SELECT range FROM range({ROWS}) ORDER BY range % 7, range DESC").fetchall()
    assert shown(db.execute_sql("SELECT v FROM ordered", route="local")) == wanted


def test_types_and_values_are_those_that_duckdb_keeps(db: sabot_sql.Connection) -> None:
    db.execute_sql(f"CREATE OR REPLACE TABLE typed AS {TYPES}", timezone="UTC")
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"CREATE TABLE typed AS {TYPES}")
        wanted = con.execute("SELECT column_name, column_type FROM (DESCRIBE typed)").fetchall()
        values = con.sql("SELECT * FROM typed").to_arrow_table()
        texts = con.execute("SELECT COLUMNS(*)::VARCHAR FROM typed").fetchall()
    found = db.execute_sql("SELECT * FROM typed", timezone="UTC")
    described = [(row["column_name"], row["column_type"]) for row in db.execute_sql("DESCRIBE typed").to_pylist()]
    assert described == wanted
    assert found.to_arrow().to_pylist() == values.to_pylist()
    assert shown(db.execute_sql("SELECT COLUMNS(*)::VARCHAR FROM typed", timezone="UTC")) == texts


@pytest.mark.parametrize(
    "value", ["INTERVAL 1 DAY", "TIMETZ '10:00:00+02'", "'101'::BIT", "union_value(a := 1)", "[INTERVAL 1 DAY]"]
)
def test_what_no_file_holds_is_refused_before_anything_is_made(db: sabot_sql.Connection, value: str) -> None:
    assert code_of(db, f"CREATE TABLE odd AS SELECT {value} AS x") == "NOT_SUPPORTED"
    assert code_of(db, "FROM odd") == "UNDEFINED_TABLE"


def test_a_hugeint_of_39_digits_leaves_the_old_table(db: sabot_sql.Connection) -> None:
    db.execute_sql("CREATE OR REPLACE TABLE huge AS SELECT 1::HUGEINT AS h")
    big = (
        "CREATE OR REPLACE TABLE huge AS SELECT (99999999999999999999999999999999999999::HUGEINT + v::HUGEINT) AS h FROM facts"
    )
    for route in ("local", "distributed"):
        assert code_of(db, big, route=route) == "INVALID_VALUE"
    assert shown(db.execute_sql("SELECT h::VARCHAR FROM huge")) == [("1",)]


def test_inserted_values_become_those_of_the_columns(db: sabot_sql.Connection) -> None:
    columns = "a INTEGER, b VARCHAR, c DECIMAL(10,2), e ENUM('x', 'y'), h HUGEINT, l DATE[]"
    inserts = (
        "INSERT INTO {} VALUES (1, 2, 3.456, 'x', 4, ['2020-01-01']), ('7', NULL, NULL, NULL, NULL, [])",
        "INSERT INTO {} (e, a) SELECT 'y', 5",
        "INSERT INTO {} BY NAME SELECT 9::SMALLINT AS c, DATE '2020-01-02' AS b",
    )
    assert len(db.execute_sql(f"CREATE OR REPLACE TABLE cols ({columns})")) == 0
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE cols ({columns})")
        for sql in inserts:
            counted = con.execute(sql.format("cols")).fetchall()
            assert shown(db.execute_sql(sql.format("cols"))) == counted
        assert (
            shown(db.execute_sql("SELECT COLUMNS(*)::VARCHAR FROM cols"))
            == con.execute("SELECT COLUMNS(*)::VARCHAR FROM cols").fetchall()
        )


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("INSERT INTO plain SELECT 'abc'", "INVALID_VALUE"),
        ("INSERT INTO plain SELECT 1, 2", "BAD_REQUEST"),
        ("INSERT INTO plain (zz) SELECT 1", "UNDEFINED_COLUMN"),
        ("INSERT INTO plain (a, A) SELECT 1, 2", "BAD_REQUEST"),
        ("INSERT INTO plain BY NAME SELECT 1 AS zz", "UNDEFINED_COLUMN"),
        ("INSERT INTO nowhere SELECT 1", "UNDEFINED_TABLE"),
        ("INSERT INTO plain SELECT nope FROM facts", "UNDEFINED_COLUMN"),
        ("CREATE TABLE plain AS SELECT 1", "TABLE_EXISTS"),
        ("CREATE VIEW plain AS SELECT 1", "TABLE_EXISTS"),
        ("DROP VIEW plain", "BAD_REQUEST"),
        ("DROP TABLE nowhere", "UNDEFINED_TABLE"),
        ("DROP TABLE facts", "READ_ONLY"),
        ("INSERT INTO facts SELECT 1, 2, 'x'", "READ_ONLY"),
        ("CREATE OR REPLACE TABLE facts AS SELECT 1", "READ_ONLY"),
        ("CREATE TABLE facts AS SELECT 1", "TABLE_EXISTS"),
        ("COPY (SELECT 1) TO 'facts.parquet'", "READ_ONLY"),
        ('CREATE TABLE "a.b" AS SELECT 1', "BAD_REQUEST"),
        ('CREATE TABLE "../x" AS SELECT 1', "BAD_REQUEST"),
        ("EXPLAIN CREATE TABLE z AS SELECT 1", "NOT_SUPPORTED"),
        ("EXPLAIN ANALYZE INSERT INTO plain SELECT 1", "NOT_SUPPORTED"),
    ],
)
def test_what_cannot_be_written_changes_nothing(db: sabot_sql.Connection, sql: str, code: str) -> None:
    db.execute_sql("CREATE OR REPLACE TABLE plain AS SELECT 1 AS a")
    assert code_of(db, sql) == code
    assert shown(db.execute_sql("FROM plain")) == [(1,)]


def test_errors_stand_in_the_whole_statement(db: sabot_sql.Connection) -> None:
    sql = "CREATE OR REPLACE TABLE größe AS\n SELECT k, nope FROM facts"
    with pytest.raises(SabotError) as caught:
        db.execute_sql(sql)
    position = caught.value.position
    assert position is not None
    assert (position.line, position.offset) == (2, sql.index("nope"))
    assert "SELECT k, nope" in str(caught.value)


def test_answers_of_definitions_are_duckdbs(db: sabot_sql.Connection) -> None:
    with duckdb.connect() as con:
        for sql in (
            "CREATE TABLE defined (a INTEGER)", "CREATE TABLE IF NOT EXISTS defined AS SELECT 2 AS a",
            "CREATE VIEW dv AS FROM defined", "DROP VIEW dv",
            "DROP VIEW IF EXISTS dv", "INSERT INTO defined VALUES (1)", "DROP TABLE defined",
        ):  # fmt: skip
            theirs, ours = con.execute(sql), db.execute_sql(sql)
            assert ours.columns == [column[0] for column in theirs.description]
            assert ours.sql_types == [str(column[1]) for column in theirs.description]
            assert shown(ours) == theirs.fetchall()


def test_parameters_and_explain(db: sabot_sql.Connection) -> None:
    db.execute_sql("CREATE OR REPLACE TABLE params AS SELECT $x + 1 AS a, $y AS b", params={"x": 4, "y": "ü"})
    db.execute_sql("INSERT INTO params VALUES (?, ?)", params=[7, None])
    assert shown(db.execute_sql("FROM params ORDER BY a")) == [(5, "ü"), (7, None)]
    found = db.explain("CREATE TABLE never AS SELECT k, sum(v) FROM facts GROUP BY k", route="distributed")
    assert (found.statement_type, found.route, bool(found.stages)) == ("CREATE TABLE AS", "distributed", True)
    with pytest.raises(SabotError, match="EXPLAIN ANALYZE"):
        db.explain("CREATE TABLE never AS SELECT 1", analyze=True)
    assert code_of(db, "FROM never") == "UNDEFINED_TABLE"


# versions


def test_a_plan_and_cached_columns_of_the_old_table_are_not_used(db: sabot_sql.Connection) -> None:
    sql = "SELECT count(*), sum(v)::BIGINT FROM versioned"
    for number in range(3):
        db.execute_sql(f"CREATE OR REPLACE TABLE versioned AS SELECT v + {number} AS v FROM facts")
        for _ in range(3):
            for route in ("local", "distributed"):
                found = shown(db.execute_sql(sql, route=route))  # type: ignore[arg-type]
                assert found == [(ROWS, ROWS * (ROWS - 1) // 2 + number * ROWS)]


def test_readers_see_one_version_while_others_write(db: sabot_sql.Connection) -> None:
    db.execute_sql("CREATE OR REPLACE TABLE busy AS SELECT v, 0 AS m FROM facts")
    over, seen, errors = threading.Event(), set(), []

    def read(route: Any) -> None:
        while not over.is_set():
            try:
                seen.update(shown(db.execute_sql("SELECT count(*), min(m), max(m), sum(v)::BIGINT FROM busy", route=route)))
            except SabotError as error:
                errors.append(error)

    readers = [threading.Thread(target=read, args=(route,)) for route in ("local", "distributed")]
    for reader in readers:
        reader.start()
    for number in range(1, 9):
        db.execute_sql(f"CREATE OR REPLACE TABLE busy AS SELECT v, {number} AS m FROM facts")
    over.set()
    for reader in readers:
        reader.join()
    assert errors == []
    assert all(row[0] == ROWS and row[1] == row[2] and row[3] == ROWS * (ROWS - 1) // 2 for row in seen)


def test_a_statement_that_fails_or_is_cancelled_leaves_nothing(db: sabot_sql.Connection, tmp_path: Path) -> None:
    with sabot_sql.connect(data=None, writable=True, state_dir=tmp_path, num_local_agents=0) as own:
        assert code_of(own, "CREATE TABLE t AS SELECT (1 / (range < 1e6)::INTEGER)::VARCHAR::DATE FROM range(2000000)") != ""
        cancel = threading.Event()
        threading.Timer(0.3, cancel.set).start()
        with pytest.raises(SabotError) as caught:
            own.run(
                own.request("CREATE TABLE t AS SELECT a.range + b.range AS x FROM range(100000) a, range(100000) b"),
                cancel=cancel,
            )
        assert caught.value.problem.code == "CANCELLED"
        with pytest.raises(SabotError) as caught:
            own.execute_sql(
                "CREATE TABLE t AS SELECT a.range + b.range AS x FROM range(100000) a, range(100000) b", timeout_s=0.3
            )
        assert caught.value.problem.code == "QUERY_TIMEOUT"
        assert list((tmp_path / "tables").rglob("*.parquet")) == []
        assert own.tables() == []


def test_tables_are_kept_in_the_state_folder_and_leftovers_go(tmp_path: Path) -> None:
    with sabot_sql.connect(writable=True, state_dir=tmp_path, num_local_agents=0) as db:
        db.execute_sql("CREATE TABLE kept AS SELECT 1::HUGEINT AS a, 'x'::ENUM('x') AS e")
        db.execute_sql("CREATE VIEW seen AS SELECT a + 1 AS b FROM kept")
    (tmp_path / "tables" / "incoming" / "left").mkdir()
    (tmp_path / "tables" / "incoming" / "left" / "0.parquet").write_bytes(b"half")
    with sabot_sql.connect(state_dir=tmp_path, num_local_agents=0) as db:
        assert shown(db.execute_sql("SELECT b::VARCHAR, typeof(b) FROM seen")) == [("2", "HUGEINT")]
        assert code_of(db, "DROP TABLE kept") == "READ_ONLY"
        assert list((tmp_path / "tables" / "incoming").iterdir()) == []


def test_connections_without_a_state_folder_have_tables_of_their_own() -> None:
    with (
        sabot_sql.connect(writable=True, num_local_agents=0) as one,
        sabot_sql.connect(writable=True, num_local_agents=0) as other,
    ):
        one.execute_sql("CREATE TABLE mine AS SELECT 1 AS a")
        assert code_of(other, "FROM mine") == "UNDEFINED_TABLE"


def test_the_same_key_writes_once(db: sabot_sql.Connection, tmp_path: Path) -> None:
    for _ in range(2):  # the second process knows the key from the manifest alone
        with sabot_sql.connect(writable=True, state_dir=tmp_path, num_local_agents=0) as own:
            own.execute_sql("CREATE TABLE IF NOT EXISTS once (a INTEGER)")
            for _ in range(2):
                found = own.execute_sql("INSERT INTO once VALUES (1), (2)", idempotency_key="k")
                assert found.rows_affected == 2
            assert shown(own.execute_sql("SELECT count(*) FROM once")) == [(2,)]


# partitions and files


@pytest.mark.parametrize("route", ["local", "distributed"])
def test_partitions_are_files_of_their_own_that_predicates_rule_out(db: sabot_sql.Connection, route: Any) -> None:
    db.execute_sql("CREATE OR REPLACE TABLE parts PARTITIONED BY (k) AS SELECT s, k, v FROM facts", route=route)
    assert db.table("parts")["files"] == 7
    db.execute_sql("INSERT INTO parts VALUES ('new', 9, -1), ('null', NULL, -2)", route=route)
    assert db.table("parts")["files"] == 9
    assert shown(db.execute_sql("SELECT s, v FROM parts WHERE k = 9 OR k IS NULL ORDER BY v")) == [("null", -2), ("new", -1)]
    assert db.explain("SELECT * FROM parts WHERE k = 3").estimate["rows_scanned"] < ROWS // 5
    described = [row["column_name"] for row in db.execute_sql("DESCRIBE parts").to_pylist()]
    assert described == ["s", "k", "v"]
    assert code_of(db, "CREATE TABLE bad PARTITIONED BY (nope) AS SELECT 1 AS a") == "UNDEFINED_COLUMN"
    assert code_of(db, "CREATE TABLE bad PARTITIONED BY (a) AS SELECT [1] AS a") == "NOT_SUPPORTED"


def test_copy_writes_a_file_of_the_catalog(db: sabot_sql.Connection) -> None:
    assert (
        db.execute_sql("COPY (SELECT k, v FROM facts WHERE v < 100) TO 'out.parquet' (COMPRESSION zstd)").rows_affected == 100
    )
    assert db.execute_sql("COPY out TO 'out.parquet' (APPEND)").rows_affected == 100
    assert shown(db.execute_sql("SELECT count(*), sum(v)::BIGINT FROM out")) == [(200, 9900)]
    db.execute_sql("COPY out TO 'sorted' (FORMAT parquet, PARTITION_BY (k))")
    assert db.table("sorted")["files"] == 7


def test_a_table_without_rows_is_one(db: sabot_sql.Connection) -> None:
    for sql in ("AS SELECT k, s FROM facts WHERE false", "PARTITIONED BY (k) AS SELECT k, s FROM facts WHERE false"):
        assert db.execute_sql(f"CREATE OR REPLACE TABLE none {sql}").rows_affected == 0
        for route in ("local", "distributed"):
            assert shown(db.execute_sql("SELECT count(*), max(s) FROM none", route=route)) == [(0, None)]  # type: ignore[arg-type]


def test_memory_hungry_queries_are_guarded_as_ever(db: sabot_sql.Connection) -> None:
    made = db.execute_sql("CREATE OR REPLACE TABLE wide AS SELECT repeat('x', v * 100) AS r FROM facts WHERE v < 10")
    assert made.stats["engine"] == "duckdb-guarded"
    db.execute_sql("CREATE OR REPLACE VIEW wider AS SELECT repeat('x', v * 100) AS r FROM facts WHERE v < 10")
    assert db.execute_sql("SELECT max(length(r)) FROM wider").stats["engine"] == "duckdb-guarded"


# views


def test_views_are_queries_on_both_routes(db: sabot_sql.Connection) -> None:
    db.execute_sql("CREATE OR REPLACE VIEW sums(key, total) AS SELECT k, sum(v) FROM facts GROUP BY k")
    db.execute_sql("CREATE OR REPLACE VIEW big AS SELECT * FROM sums WHERE total > 178550000 -- the larger ones")
    for route in ("local", "distributed"):
        found = db.execute_sql(
            "SELECT a.key, b.total::BIGINT FROM big AS a JOIN main.sums b USING (key) ORDER BY 1", route=route
        )  # type: ignore[arg-type]
        assert found.route == route
        assert shown(found) == shown(
            db.execute_sql("SELECT k, sum(v)::BIGINT t FROM facts GROUP BY k HAVING t > 178550000 ORDER BY 1")
        )
    assert [row["column_name"] for row in db.execute_sql("DESCRIBE big").to_pylist()] == ["key", "total"]
    assert {"big", "sums"} <= {row["name"] for row in db.execute_sql("SHOW TABLES").to_pylist()}
    assert {row["name"]: row["kind"] for row in db.tables()}["big"] == "view"
    db.execute_sql("CREATE OR REPLACE TABLE of_view AS FROM big")
    assert len(db.execute_sql("SUMMARIZE big")) == 2


def test_a_view_sees_the_tables_as_they_are(db: sabot_sql.Connection) -> None:
    db.execute_sql("CREATE OR REPLACE TABLE base AS SELECT 1 AS a")
    db.execute_sql("CREATE OR REPLACE VIEW over AS SELECT a FROM base")
    db.execute_sql("INSERT INTO base VALUES (2)")
    assert shown(db.execute_sql("SELECT sum(a)::BIGINT FROM over")) == [(3,)]
    db.execute_sql("DROP TABLE base")
    assert code_of(db, "FROM over") == "UNDEFINED_TABLE"


def test_views_that_cannot_be(db: sabot_sql.Connection) -> None:
    db.execute_sql("CREATE OR REPLACE VIEW a AS SELECT 1 AS x")
    db.execute_sql("CREATE OR REPLACE VIEW b AS FROM a")
    for sql in ("CREATE OR REPLACE VIEW a AS FROM b", "CREATE OR REPLACE VIEW a AS FROM a", "CREATE VIEW c AS FROM c"):
        assert code_of(db, sql) in ("BAD_REQUEST", "UNDEFINED_TABLE")
    assert code_of(db, "CREATE VIEW c AS FROM information_schema.tables") == "NOT_SUPPORTED"
    assert code_of(db, "CREATE VIEW c AS SELECT * FROM system.queries") == "NOT_SUPPORTED"
    assert code_of(db, "CREATE VIEW c AS SELECT nope FROM facts") == "UNDEFINED_COLUMN"
    assert code_of(db, "INSERT INTO a SELECT 1") == "BAD_REQUEST"
    assert code_of(db, "CREATE OR REPLACE TABLE a AS SELECT 1") == "TABLE_EXISTS"


def test_a_failed_commit_leaves_the_old_table(db: sabot_sql.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    from sabot_sql.catalog import stored_tables

    db.execute_sql("CREATE OR REPLACE TABLE safe AS SELECT 1 AS a")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(stored_tables, "write_manifest", full)
        with pytest.raises(SabotError, match="room|space"):
            db.execute_sql("CREATE OR REPLACE TABLE safe AS SELECT 2 AS a")
    assert shown(db.execute_sql("FROM safe")) == [(1,)]


def test_a_writable_catalog_is_for_an_engine_in_this_process() -> None:
    with pytest.raises(SabotError, match="writable"):
        sabot_sql.connect("http://localhost:1", writable=True)
    assert issubclass(QueryError, SabotError)
