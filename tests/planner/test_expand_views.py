"""Views are put into the statements that name them."""

from __future__ import annotations

import pytest

from sabot_sql.errors import NotSupported, PlanError
from sabot_sql.planner.expand_views import Expanded, expand_views
from sabot_sql.planner.parse import parse
from sabot_sql.planner.sql_position import position_at

VIEWS = {
    "v": "SELECT a, b FROM t -- the end",
    "w": "SELECT a FROM v WHERE a > 1",
    "loop": "SELECT * FROM pool",
    "pool": "SELECT * FROM loop",
}


def expanded(sql: str) -> Expanded:
    def lookup(parts: tuple[str, ...]) -> tuple[str, str] | None:
        query = VIEWS.get(parts[-1].lower()) if parts[:-1] in ((), ("main",)) else None
        return None if query is None else (parts[-1].lower(), query)

    return expand_views(parse(sql), lookup)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT * FROM v", 'SELECT * FROM (\nSELECT a, b FROM t -- the end\n) AS "v"'),
        ("SELECT q.a FROM main.v AS q, t", "SELECT q.a FROM (\nSELECT a, b FROM t -- the end\n) AS q, t"),
        ("FROM t", "FROM t"),
        ("WITH v AS (SELECT 1) SELECT * FROM v", "WITH v AS (SELECT 1) SELECT * FROM v"),
    ],
)  # fmt: skip
def test_a_view_becomes_its_query(sql: str, expected: str) -> None:
    assert expanded(sql).statement.sql == expected


def test_views_of_views_are_expanded_and_told() -> None:
    found = expanded("SELECT * FROM (SELECT a FROM w) WHERE a IN (SELECT a FROM V)")
    assert {parts[-1] for parts in found.statement.tables} == {"t"}
    assert found.views == {"v", "w"}


def test_describe_and_summarize_take_views() -> None:
    assert expanded("DESCRIBE v").statement.kind == "DESCRIBE"
    assert expanded("SHOW w").statement.kind == "SHOW"
    assert expanded("SUMMARIZE main.v").statement.kind == "SUMMARIZE"


def test_a_view_that_reads_itself_is_refused() -> None:
    with pytest.raises(PlanError, match="reads itself"):
        expanded("SELECT * FROM loop")


def test_with_does_not_reach_into_a_view() -> None:
    with pytest.raises(NotSupported, match="hides a table"):
        expanded("WITH t AS (SELECT 1) SELECT * FROM v")


def test_errors_stand_in_the_text_that_was_written() -> None:
    sql = "SELECT ä, nope FROM v WHERE other = 1"
    found = expanded(sql)
    for name in ("nope", "other"):
        error = PlanError(
            "?", position=position_at(found.statement.sql, found.statement.sql.index(name)), sql=found.statement.sql
        )
        placed = found.placed(error)
        assert placed.position is not None
        assert (placed.position.offset, placed.sql) == (sql.index(name), sql)
    inside = PlanError("?", position=position_at(found.statement.sql, found.statement.sql.index("b FROM")))
    assert found.placed(inside).position is None


def test_many_views_of_views_are_too_long_at_once() -> None:
    views = {f"{side}{n}": f"SELECT * FROM l{n - 1} NATURAL JOIN r{n - 1}" for n in range(1, 40) for side in "lr"}
    views |= {"l0": "SELECT 1 AS a", "r0": "SELECT 1 AS a"}

    def lookup(parts: tuple[str, ...]) -> tuple[str, str] | None:
        return (parts[0], views[parts[0]]) if parts[0] in views else None

    with pytest.raises(PlanError, match="too long"):
        expand_views(parse("FROM l39"), lookup)
