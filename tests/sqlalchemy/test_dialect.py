"""SQLAlchemy Core, its inspector and pandas over real engines."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import sabot_sql
from sabot_sql import dbapi
from sabot_sql.sqlalchemy import HUGEINT, INTERVAL, UTINYINT, NamedType
from sabot_sql.sqlalchemy.dialect import SabotDialect
from tests.server.live_server import LiveServer

numbers = sa.table("numbers", sa.column("i", sa.BigInteger), sa.column("name", sa.String), sa.column("half", sa.Double))
people = sa.table("people", sa.column("id", sa.BigInteger), sa.column("name", sa.String))


def rows(engine: sa.Engine, statement: Any, parameters: Any = None, **options: Any) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(statement, parameters, execution_options=options)]


def test_limit_and_offset(engine: sa.Engine) -> None:
    statement = sa.select(numbers.c.i, numbers.c.half).where(numbers.c.i > 5).order_by(numbers.c.i)
    assert rows(engine, statement.limit(2).offset(1)) == [(7, 3.5), (8, 4.0)]
    assert rows(engine, statement.offset(9_992)) == [(9_998, 4_999.0), (9_999, 4_999.5)]


def test_joins_groups_and_windows(engine: sa.Engine) -> None:
    joined = sa.select(people.c.name, numbers.c.half).join_from(people, numbers, people.c.id == numbers.c.i)
    assert rows(engine, joined.order_by(people.c.id)) == [("Ada", 0.5), (None, 1.0), ("Zoë, „Z“", 1.5)]
    tens = numbers.c.i // 1_000
    grouped = sa.select(tens, sa.func.count(), sa.func.sum(numbers.c.i)).group_by(tens).order_by(tens).limit(2)
    assert rows(engine, grouped) == [(0, 1_000, 499_500), (1, 1_000, 1_499_500)]
    numbered = sa.select(people.c.id, sa.func.row_number().over(order_by=people.c.id.desc()).label("n")).order_by("n")
    assert rows(engine, numbered) == [(3, 1), (2, 2), (1, 3)]


def test_parameters_of_text_and_lists(engine: sa.Engine) -> None:
    assert rows(engine, sa.text("select :a + :a, :b"), {"a": 2, "b": "x"}) == [(4, "x")]
    assert rows(engine, sa.select(numbers.c.i).where(numbers.c.i.in_([3, 1])).order_by(numbers.c.i)) == [(1,), (3,)]
    assert rows(engine, sa.select(numbers.c.i).where(numbers.c.i.in_([]))) == []
    with engine.connect() as connection:
        assert connection.exec_driver_sql("select ? || ?", ("a", "b")).scalar() == "ab"


def test_operators_are_those_of_duckdb(engine: sa.Engine) -> None:
    seven, two = sa.literal(-7), sa.literal(2)
    assert rows(engine, sa.select(seven // two, seven / two, sa.literal(7).bitwise_xor(2))) == [(-4, Decimal("-3.5"), 5)]
    big = sa.literal(9_007_199_254_740_993, sa.BigInteger)
    assert rows(engine, sa.select(big // 1)) == [(9_007_199_254_740_993,)]
    text = sa.literal("abc")
    found = rows(engine, sa.select(text.regexp_match("B"), text.regexp_match("B", flags="i"), ~text.regexp_match("b")))
    assert found == [(False, True, False)]
    assert rows(engine, sa.select(text.regexp_replace("b", "-"), text.ilike("A%"), text.like("a/%", escape="/"))) == [
        ("a-c", True, False)
    ]
    document = sa.cast({"a": {"b": 5}, "c": "x"}, sa.JSON)
    assert rows(engine, sa.select(document["a"], document["c"].as_string(), document[("a", "b")].as_integer())) == [
        ({"b": 5}, "x", 5)
    ]


def test_sample_is_a_percentage(engine: sa.Engine) -> None:
    sample = numbers.tablesample(sa.func.bernoulli(50), seed=sa.literal(7))
    assert 4_000 < rows(engine, sa.select(sa.func.count()).select_from(sample))[0][0] < 6_000


def test_values_come_as_their_types(engine: sa.Engine) -> None:
    moment, span = dt.datetime(2026, 1, 2, 3, 4, 5, 6), dt.timedelta(days=2, seconds=3)
    number = uuid.UUID(int=5)
    given = [moment, moment.date(), moment.time(), span, number, Decimal("1.25"), b"ab", True, [1, 2]]
    kinds = [sa.DateTime(), sa.Date(), sa.Time(), sa.Interval(), sa.Uuid(), sa.Numeric(10, 2), sa.LargeBinary(), sa.Boolean(),
             sa.ARRAY(sa.Integer)]  # fmt: skip
    statement = sa.select(*(sa.cast(sa.literal(value, kind), kind) for value, kind in zip(given, kinds)))
    assert rows(engine, statement) == [tuple(given)]


def test_interval_with_months_is_refused(embedded: sa.Engine) -> None:
    statement = sa.select(sa.literal_column("INTERVAL 1 MONTH", sa.Interval()))
    with pytest.raises(dbapi.DataError, match="no timedelta"):
        rows(embedded, statement)


def test_rows_are_streamed(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        result = connection.execution_options(yield_per=3_000).execute(sa.select(numbers.c.i))
        assert [len(lot) for lot in result.partitions()] == [3_000, 3_000, 3_000, 1_000]


def test_execution_options_are_the_query_s(server: LiveServer) -> None:
    engine = sa.create_engine(server.url.replace("http://", "sabot://") + "?route=local")
    count = sa.select(sa.func.count()).select_from(numbers)
    with engine.connect() as connection:
        for route in ("local", "distributed"):
            result = connection.execute(count, execution_options={"sabot_route": route})
            assert (result.cursor.result.route, result.scalar()) == (route, 10_000)
        assert connection.execute(count).cursor.result.route == "local"
        with pytest.raises(sa.exc.InterfaceError, match="no argument rout"):
            connection.execute(count, execution_options={"sabot_rout": "local"})
    engine.dispose()


def test_errors_are_wrapped(engine: sa.Engine) -> None:
    with pytest.raises(sa.exc.ProgrammingError) as caught:
        rows(engine, sa.text("select nam from people"))
    assert caught.value.orig.code == "UNDEFINED_COLUMN"
    with pytest.raises(sa.exc.NotSupportedError, match="only reads"):
        rows(engine, sa.insert(people).values(id=4))
    with pytest.raises(sa.exc.CompileError, match="holds no locks"):
        rows(engine, sa.select(people).with_for_update())


def test_no_server_is_an_operational_error() -> None:
    with pytest.raises(sa.exc.OperationalError, match="cannot connect"):
        sa.create_engine("sabot://127.0.0.1:9").connect()


def test_orm_reads(embedded: sa.Engine) -> None:
    class Base(DeclarativeBase):
        pass

    class Person(Base):
        __tablename__ = "people"
        id: Mapped[int] = mapped_column(primary_key=True)
        name: Mapped[str | None]

    with Session(embedded) as session:
        found = session.get(Person, 1)
        assert found is not None
        assert found.name == "Ada"
        session.add(Person(id=4))
        with pytest.raises(sa.exc.NotSupportedError):
            session.flush()


def test_transactions_are_autocommit(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        assert connection.execute(sa.text("select 1")).scalar() == 1
        connection.rollback()
        assert connection.get_isolation_level() == "AUTOCOMMIT"
    with engine.connect() as connection, pytest.raises(sa.exc.ArgumentError):
        connection.execution_options(isolation_level="SERIALIZABLE")


def test_inspector_lists_tables_and_columns(engine: sa.Engine) -> None:
    inspector = sa.inspect(engine)
    assert inspector.get_schema_names() == ["main"]
    assert inspector.default_schema_name == "main"
    assert inspector.get_table_names() == ["numbers", "people"]
    assert inspector.get_view_names() == []
    assert [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns("numbers")] == [
        ("i", "BIGINT", True), ("name", "VARCHAR", True), ("half", "DOUBLE", True),
    ]  # fmt: skip
    assert inspector.has_table("people")
    assert inspector.has_table("PEOPLE", schema="main")
    assert not inspector.has_table("nobody")
    assert inspector.get_pk_constraint("people")["constrained_columns"] == []
    for nothing in (inspector.get_foreign_keys, inspector.get_indexes, inspector.get_unique_constraints):
        assert nothing("people") == []
    with pytest.raises(sa.exc.NoSuchTableError):
        inspector.get_columns("nobody")


def test_reflected_tables_are_queried(engine: sa.Engine) -> None:
    metadata = sa.MetaData()
    metadata.reflect(engine)
    found = metadata.tables["people"]
    assert rows(engine, sa.select(found.c.name).where(found.c.id == 1)) == [("Ada",)]


def test_schemas_views_and_types_of_a_duckdb_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(str(path)) as writer:
        writer.execute("""CREATE TABLE goods (id INTEGER NOT NULL, price DECIMAL(10,2), tags VARCHAR[], box STRUCT(w INTEGER),
            big HUGEINT, small UTINYINT, moment TIMESTAMPTZ, span INTERVAL, key UUID, doc JSON,
            kind ENUM('a', 'b'), "Odd Name" REAL)""")
        writer.execute("CREATE VIEW cheap AS SELECT id FROM goods WHERE price < 10")
        writer.execute("CREATE SCHEMA archive; CREATE TABLE archive.old (n INTEGER); INSERT INTO archive.old VALUES (7)")
        writer.execute("INSERT INTO goods (id, price, box) VALUES (1, 9.50, {'w': 3})")
    engine = sa.create_engine(f"sabot:///{path}?num_local_agents=0")
    inspector = sa.inspect(engine)
    assert inspector.get_schema_names() == ["archive", "main"]
    assert (inspector.get_table_names(), inspector.get_view_names()) == (["goods"], ["cheap"])
    assert inspector.get_table_names("archive") == ["old"]
    types = {c["name"]: c["type"] for c in inspector.get_columns("goods")}
    assert (types["price"].precision, types["price"].scale) == (10, 2)
    assert isinstance(types["tags"], sa.ARRAY)
    assert isinstance(types["tags"].item_type, sa.VARCHAR)
    for name, kind in (("big", HUGEINT), ("small", UTINYINT), ("span", INTERVAL), ("key", sa.UUID), ("doc", sa.JSON),
                       ("box", NamedType), ("kind", NamedType), ("Odd Name", sa.REAL)):  # fmt: skip
        assert isinstance(types[name], kind), name
    assert types["moment"].timezone
    old = sa.Table("old", sa.MetaData(), schema="archive", autoload_with=engine)
    assert rows(engine, sa.select(old)) == [(7,)]
    goods = sa.Table("goods", sa.MetaData(), autoload_with=engine)
    assert rows(engine, sa.select(goods.c.price, goods.c.box["w"])) == [(Decimal("9.50"), 3)]
    engine.dispose()


def test_pandas_reads_sql(engine: sa.Engine) -> None:
    frame = pd.read_sql(sa.select(people).where(people.c.id < 3).order_by(people.c.id), engine)
    assert list(frame["id"]) == [1, 2]
    assert len(pd.read_sql("select * from numbers", engine)) == 10_000
    assert list(pd.read_sql_table("people", engine).columns) == ["id", "name"]
    chunks = pd.read_sql("select i from numbers", engine, chunksize=6_000)
    assert [len(chunk) for chunk in chunks] == [6_000, 4_000]


def test_polars_reads_a_database(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        assert pl.read_database("select id from people order by id", connection)["id"].to_list() == [1, 2, 3]


def test_threads_share_the_engine(engine: sa.Engine) -> None:
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n: found.append(rows(engine, sa.select(sa.literal(n) * 2))[0][0])) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [0, 2, 4, 6, 8, 10, 12, 14]


def test_open_connection_and_tables_in_memory(data: Path) -> None:
    with sabot_sql.connect(data=data, num_local_agents=0) as db:
        engine = sa.create_engine("sabot://", creator=lambda: dbapi.connect(db))
        assert rows(engine, sa.select(sa.func.count()).select_from(people)) == [(3,)]
        engine.dispose()
        assert db.execute_sql("SELECT 1").scalar() == 1
    engine = sa.create_engine("sabot://", connect_args={"data": {"t": pd.DataFrame({"a": [5]})}, "num_local_agents": 0})
    assert rows(engine, sa.text("select a from t")) == [(5,)]
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sabot://host/folder", "host has its own data"),
        ("sabot://host?rout=local", "option rout"),
        ("sabot://host?timeout_s=soon", "timeout_s cannot be 'soon'"),
        ("sabot:///x?tls=perhaps", "tls cannot be"),
    ],
)
def test_url_is_checked(url: str, message: str) -> None:
    with pytest.raises(sa.exc.ArgumentError, match=message):
        sa.create_engine(url).connect()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (sa.Float(), "DOUBLE"), (sa.Float(10), "REAL"), (sa.Double(), "DOUBLE"), (sa.LargeBinary(), "BLOB"),
        (sa.DateTime(timezone=True), "TIMESTAMP WITH TIME ZONE"), (sa.Interval(), "INTERVAL"), (sa.Uuid(), "UUID"),
        (sa.ARRAY(sa.String), "VARCHAR[]"), (sa.Enum("a", "bc", name="e"), "VARCHAR(2)"), (HUGEINT(), "HUGEINT"),
        (NamedType("MAP(VARCHAR, INTEGER)"), "MAP(VARCHAR, INTEGER)"), (sa.JSON(), "JSON"), (sa.Numeric(5, 1), "NUMERIC(5, 1)"),
    ],
)  # fmt: skip
def test_type_is_written(kind: Any, text: str) -> None:
    assert kind.compile(dialect=SabotDialect()) == text


def test_reserved_words_are_those_of_duckdb() -> None:
    listed = duckdb.sql("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN ('reserved', 'type_function')")
    reserved = {name for (name,) in listed.fetchall()}
    unquoted = [w for w in reserved if not SabotDialect().identifier_preparer.quote(w).startswith('"')]
    named_alright = [w for w in unquoted if _can_name_a_column(w)]
    assert sorted(set(unquoted) - set(named_alright)) == []


def _can_name_a_column(word: str) -> bool:
    try:
        duckdb.sql(f"SELECT {word}.{word} FROM (SELECT 1 AS {word}) AS {word}")
    except duckdb.Error:
        return False
    return True


def test_engine_itself_needs_no_sqlalchemy() -> None:
    code = "import sys, sabot_sql, sabot_sql.dbapi, sabot_sql.cli.main; print('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
