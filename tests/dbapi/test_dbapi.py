"""PEP 249, over an engine in this process and over a server."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import sabot_sql
from sabot_sql import dbapi
from sabot_sql.errors import CLASS_OF_CODE, PROBLEMS
from tests.server.live_server import LONG_QUERY, LiveServer

VALUES = """SELECT true AS b, 7::HUGEINT AS h, 1.50::DECIMAL(10,2) AS d, 'x' AS s, 'ab'::BLOB AS y, DATE '2026-01-02' AS day,
    TIME '10:30' AS t, TIMESTAMP '2026-01-02 03:04:05.5' AS ts, '00000000-0000-0000-0000-000000000007'::UUID AS u,
    [1, 2] AS l, {'a': 1} AS o, NULL AS n"""


def test_module_says_what_pep_249_asks() -> None:
    assert (dbapi.apilevel, dbapi.threadsafety, dbapi.paramstyle) == ("2.0", 2, "qmark")


def test_rows_come_one_by_one_in_lots_and_all_at_once(connection: dbapi.Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT i, name FROM numbers ORDER BY i")
        assert (cursor.rowcount, cursor.rownumber) == (10_000, 0)
        assert cursor.fetchone() == (0, "n0")
        assert cursor.fetchmany() == [(1, "n1")]
        cursor.arraysize = 3
        assert cursor.fetchmany() == [(2, "n2"), (3, "n3"), (4, "n4")]
        assert cursor.fetchmany(2) == [(5, "n5"), (6, "n6")]
        assert next(iter(cursor)) == (7, "n7")
        rest = cursor.fetchall()
        assert (len(rest), rest[-1], cursor.rownumber) == (9_992, (9_999, "n9999"), 10_000)
        assert (cursor.fetchone(), cursor.fetchmany(5), cursor.fetchall()) == (None, [], [])


def test_values_are_those_of_python(connection: dbapi.Connection) -> None:
    row = connection.execute(VALUES).fetchone()
    assert row == (
        True, 7, Decimal("1.50"), "x", b"ab", dt.date(2026, 1, 2), dt.time(10, 30), dt.datetime(2026, 1, 2, 3, 4, 5, 500_000),
        uuid.UUID(int=7), [1, 2], {"a": 1}, None,
    )  # fmt: skip
    assert type(row[1]) is int


def test_description_has_names_types_and_precision(connection: dbapi.Connection) -> None:
    cursor = connection.cursor()
    assert (cursor.description, cursor.rowcount, cursor.rownumber) == (None, -1, None)
    described = cursor.execute(VALUES).description
    assert described is not None
    assert described[2] == ("d", "DECIMAL(10,2)", None, None, 10, 2, None)
    assert [name for name, *_ in described] == [*"bhdsy", "day", "t", "ts", "u", "l", "o", "n"]
    groups = {"b": dbapi.NUMBER, "h": dbapi.NUMBER, "d": dbapi.NUMBER, "s": dbapi.STRING, "y": dbapi.BINARY,
              "day": dbapi.DATETIME, "ts": dbapi.DATETIME, "u": dbapi.STRING}  # fmt: skip
    codes = {name: code for name, code, *_ in described}
    for name, group in groups.items():
        assert codes[name] == group
        assert [g for g in (dbapi.NUMBER, dbapi.STRING, dbapi.BINARY, dbapi.DATETIME) if g == codes[name]] == [group]
    assert codes["l"] != dbapi.NUMBER


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        ("SELECT name FROM people WHERE id = ?", [1]),
        ("SELECT name FROM people WHERE id = $1", (1,)),
        ("SELECT name FROM people WHERE id = $id", {"id": 1}),
        ("SELECT name FROM people WHERE id = 1 AND '?' = '?'", None),
    ],
)
def test_parameters(connection: dbapi.Connection, sql: str, parameters: Any) -> None:
    assert connection.execute(sql, parameters).fetchall() == [("Ada",)]


def test_executemany_runs_with_each_and_keeps_the_last(connection: dbapi.Connection) -> None:
    cursor = connection.cursor().executemany("SELECT name FROM people WHERE id = ?", [[3], [1]])
    assert cursor.fetchall() == [("Ada",)]
    assert connection.cursor().executemany("SELECT ?", []).description is None


def test_second_statement_replaces_the_first(connection: dbapi.Connection) -> None:
    cursor = connection.execute("SELECT i FROM numbers ORDER BY i")
    cursor.fetchmany(10)
    cursor.execute("SELECT 5 AS five")
    assert (cursor.rowcount, cursor.fetchall()) == (1, [(5,)])
    with pytest.raises(dbapi.ProgrammingError):
        cursor.execute("SELECT nothing")
    assert cursor.description is None


@pytest.mark.parametrize(
    ("sql", "parameters", "kind", "code", "sqlstate"),
    [
        ("SELEC 1", None, dbapi.ProgrammingError, "SYNTAX_ERROR", "42601"),
        ("SELECT * FROM nobody", None, dbapi.ProgrammingError, "UNDEFINED_TABLE", "42P01"),
        ("SELECT nam FROM people", None, dbapi.ProgrammingError, "UNDEFINED_COLUMN", "42703"),
        ("SELECT 1; SELECT 2", None, dbapi.ProgrammingError, "MULTIPLE_STATEMENTS", "42601"),
        ("SELECT ?", None, dbapi.ProgrammingError, "INVALID_PARAMETER", "22023"),
        ("SELECT ?", [object()], dbapi.ProgrammingError, "INVALID_PARAMETER", "22023"),
        ("SELECT 'x'::INTEGER", None, dbapi.DataError, "INVALID_VALUE", "22000"),
        ("DELETE FROM people", None, dbapi.NotSupportedError, "READ_ONLY", "25006"),
    ],
)
def test_error_has_its_class(
    connection: dbapi.Connection, sql: str, parameters: Any, kind: type[dbapi.Error], code: str, sqlstate: str
) -> None:
    with pytest.raises(kind) as caught:
        connection.execute(sql, parameters)
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.sqlstate) == (code, sqlstate)
    assert isinstance(caught.value.__cause__, sabot_sql.SabotError)


def test_message_shows_the_place(connection: dbapi.Connection) -> None:
    with pytest.raises(dbapi.ProgrammingError, match=r"\n  SELECT nam FROM people\n         \^\^\^"):
        connection.execute("SELECT nam FROM people")


def test_every_code_has_a_class() -> None:
    classes = {code: dbapi.errors.error_class(CLASS_OF_CODE[code]("x", code=code)) for code in PROBLEMS}
    assert {code for code, kind in classes.items() if kind is dbapi.InternalError} == {"INTERNAL"}
    for code in (
        "AGENT_LOST",
        "OUT_OF_MEMORY",
        "QUERY_TIMEOUT",
        "CANCELLED",
        "CONNECTION_FAILED",
        "QUEUE_FULL",
        "FILE_MISSING",
    ):
        assert classes[code] is dbapi.OperationalError
    assert set(classes.values()) <= {
        dbapi.DataError, dbapi.OperationalError, dbapi.ProgrammingError, dbapi.NotSupportedError, dbapi.InternalError,
    }  # fmt: skip


def test_connection_names_the_exceptions(connection: dbapi.Connection) -> None:
    for name in ("Warning", "Error", "InterfaceError", "DatabaseError", "DataError", "OperationalError", "IntegrityError",
                 "InternalError", "ProgrammingError", "NotSupportedError"):  # fmt: skip
        assert getattr(connection, name) is getattr(dbapi, name)
    assert issubclass(dbapi.DataError, dbapi.DatabaseError)
    assert issubclass(dbapi.DatabaseError, dbapi.Error)
    assert not issubclass(dbapi.Warning, dbapi.Error)


def test_commit_and_rollback_do_nothing(connection: dbapi.Connection) -> None:
    cursor = connection.execute("SELECT i FROM numbers ORDER BY i")
    connection.commit()
    connection.rollback()
    assert cursor.fetchone() == (0,)
    assert connection.autocommit
    with pytest.raises(dbapi.NotSupportedError, match="no transactions"):
        connection.autocommit = False


def test_what_is_closed_is_an_interface_error(server: LiveServer) -> None:
    connection = dbapi.connect(server.url)
    closed, left = connection.execute("SELECT 1"), connection.execute("SELECT 1")
    closed.close()
    closed.close()
    with pytest.raises(dbapi.InterfaceError, match="cursor is closed"):
        closed.fetchone()
    connection.close()
    connection.close()
    assert connection.closed
    for use in (left.fetchone, connection.cursor, connection.commit, connection.rollback, lambda: left.execute("SELECT 1")):
        with pytest.raises(dbapi.InterfaceError, match="connection is closed"):
            use()


@pytest.mark.parametrize("use", ["fetchone", "fetchmany", "fetchall", "fetch_arrow_table", "fetch_df", "fetch_polars"])
def test_nothing_to_fetch_before_a_statement(embedded: dbapi.Connection, use: str) -> None:
    with pytest.raises(dbapi.InterfaceError, match="execute a statement first"):
        getattr(embedded.cursor(), use)()


def test_options_of_the_connection_and_of_the_statement(server: LiveServer) -> None:
    with dbapi.connect(server.url, route="distributed", timezone="Asia/Tokyo") as connection:
        cursor = connection.execute("SELECT count(*) FROM numbers")
        assert (cursor.result.route, cursor.fetchone()) == ("distributed", (10_000,))
        assert connection.execute("SELECT count(*) FROM numbers", route="local").result.route == "local"
        with pytest.raises(dbapi.InterfaceError, match="execute has no argument rout"):
            connection.execute("SELECT 1", rout="local")


def test_options_of_connect_are_checked(data: Path) -> None:
    with pytest.raises(dbapi.InterfaceError, match="connect has no argument agents"):
        dbapi.connect(data, agents=2)
    with pytest.raises(dbapi.InterfaceError, match="given twice"):
        dbapi.connect(data, data=data)
    with pytest.raises(dbapi.OperationalError, match="num_local_agents is for an engine in this process"):
        dbapi.connect("http://127.0.0.1:1", num_local_agents=2)


def test_open_connection_is_shared_and_stays_open(data: Path) -> None:
    with sabot_sql.connect(data=data, num_local_agents=0) as db:
        with dbapi.connect(db) as connection:
            assert connection.client is db
            assert connection.execute("SELECT count(*) FROM people").fetchone() == (3,)
        assert db.execute_sql("SELECT 1").scalar() == 1
        with pytest.raises(dbapi.InterfaceError, match="this one is open"):
            dbapi.connect(db, threads=1)


def test_no_server_is_an_operational_error() -> None:
    with dbapi.connect("http://127.0.0.1:9") as connection, pytest.raises(dbapi.OperationalError) as caught:
        connection.execute("SELECT 1")
    assert caught.value.code == "CONNECTION_FAILED"


def test_cancel_from_another_thread(connection: dbapi.Connection) -> None:
    cursor = connection.cursor()
    threading.Timer(1.0, cursor.cancel).start()
    begun = time.monotonic()
    with pytest.raises(dbapi.OperationalError) as caught:
        cursor.execute(LONG_QUERY)
    assert caught.value.code == "CANCELLED"
    assert time.monotonic() - begun < 30


def test_threads_share_a_connection(connection: dbapi.Connection) -> None:
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        found[number] = connection.execute("SELECT sum(i) FROM numbers WHERE i < ?", [number]).fetchone()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: (n * (n - 1) // 2,) for n in range(1, 9)}


def test_what_python_cannot_hold_is_a_data_error(embedded: dbapi.Connection) -> None:
    cursor = embedded.execute("SELECT TIMESTAMP_NS '2026-01-01 00:00:00.000000001' AS t")
    with pytest.raises(dbapi.DataError, match=r'column "t" of type TIMESTAMP_NS .*\nhint: cast it'):
        cursor.fetchall()
    cursor.execute("SELECT TIMESTAMP_NS '2026-01-01 00:00:00.000001' AS t")
    assert cursor.fetchall() == [(dt.datetime(2026, 1, 1, 0, 0, 0, 1),)]
    with pytest.raises(dbapi.DataError, match='column "d"'):
        embedded.execute("SELECT DATE '294000-01-01' AS d").fetchall()


def test_constructors() -> None:
    assert dbapi.Date(2026, 1, 2) == dt.date(2026, 1, 2)
    assert dbapi.Timestamp(2026, 1, 2, 3) == dt.datetime(2026, 1, 2, 3)
    assert dbapi.Binary(b"x") == b"x"
    assert dbapi.DateFromTicks(0) == dt.date.fromtimestamp(0)
    assert dbapi.TimestampFromTicks(1.5) == dt.datetime.fromtimestamp(1.5)
    assert dbapi.TimeFromTicks(1.5) == dt.datetime.fromtimestamp(1.5).time()
