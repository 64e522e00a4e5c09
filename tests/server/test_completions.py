"""What is offered at the cursor, by a real server and over real tables."""

from __future__ import annotations

import urllib.parse
from typing import Any

import pytest

from sabot_sql.planner.parse import parse
from sabot_sql.planner.policy import refusal
from sabot_sql.server.completions import written
from sabot_sql.server.cursor_context import context_at
from sabot_sql.server.vocabulary import functions
from tests.server.live_server import LiveServer


def offered(server: LiveServer, text: str, **fields: Any) -> dict[str, Any]:
    """The answer for a statement in which `|` is the cursor."""
    query = {"prefix": text.replace("|", ""), "position": text.index("|"), **fields}
    answer = server.request("GET", f"/v1/completions?{urllib.parse.urlencode(query)}")
    assert answer.status == 200, answer.data
    found: dict[str, Any] = answer.json()
    return found


def texts(server: LiveServer, text: str, kind: str, **fields: Any) -> list[str]:
    return [o["text"] for o in offered(server, text, limit=1000, **fields)["completions"] if o["kind"] == kind]


def test_tables_stand_after_from_and_join(server: LiveServer) -> None:
    for text in ("SELECT * FROM |", "SELECT * FROM numbers, |", "SELECT * FROM people JOIN |", "DESCRIBE |"):
        assert texts(server, text, "table") == ["numbers", "people"], text
    found = offered(server, "SELECT * FROM pe|")
    assert found == {"start": 14, "end": 16, "completions": [{"text": "people", "kind": "table", "detail": "3 rows"}]}


def test_columns_are_those_of_the_tables_that_the_statement_names(server: LiveServer) -> None:
    assert texts(server, "SELECT | FROM numbers", "column") == ["half", "i", "name"]
    assert texts(server, "SELECT | FROM people", "column") == ["id", "name"]
    assert texts(server, "SELECT * FROM numbers WHERE na|", "column") == ["name"]
    first = offered(server, "select ha| from numbers")["completions"][0]
    assert first == {"text": "half", "kind": "column", "detail": "DOUBLE, numbers"}


def test_columns_of_an_alias_follow_its_dot(server: LiveServer) -> None:
    text = "SELECT p.| FROM numbers n JOIN people AS p ON n.i = p.id"
    assert [o["text"] for o in offered(server, text)["completions"]] == ["id", "name"]
    assert texts(server, text.replace("p.|", "n.ha|", 1), "column") == ["half"]
    assert texts(server, "SELECT * FROM main.|", "table") == ["numbers", "people"]


def test_keywords_are_those_of_the_place(server: LiveServer) -> None:
    assert texts(server, "|", "keyword")[:3] == ["DESCRIBE", "EXPLAIN", "FROM"]
    assert texts(server, "SELECT * FROM people WH|", "keyword") == ["WHERE"]
    assert texts(server, "select * from people wh|", "keyword") == ["where"]
    assert "WHERE" not in texts(server, "SELECT * FROM |", "keyword")


def test_functions_are_offered_with_their_calls(server: LiveServer) -> None:
    found = offered(server, "SELECT uppe| FROM people")["completions"]
    assert found == [{"text": "upper", "kind": "function", "detail": "upper(string) -> VARCHAR"}]
    assert texts(server, "SELECT * FROM generate_s|", "function") == ["generate_series"]


@pytest.mark.parametrize("text", ["SELECT 'na|", "SELECT 1 -- na|", "SELECT /* na|", "SELECT $$na|", "SELECT e'it''s na|"])
def test_nothing_is_offered_in_strings_and_comments(server: LiveServer, text: str) -> None:
    assert offered(server, text)["completions"] == []


def test_queries_of_with_are_tables(server: LiveServer) -> None:
    assert "mine" in texts(server, "WITH mine AS (SELECT 1) SELECT * FROM m|", "table")


def test_limit_and_position_are_kept_to(server: LiveServer) -> None:
    assert len(offered(server, "SELECT |", limit=5)["completions"]) == 5
    beyond = server.request("GET", "/v1/completions?prefix=SELECT+1&position=999").json()
    assert beyond["end"] == 8
    assert server.request("GET", "/v1/completions").json()["completions"]
    assert server.request("GET", "/v1/completions?position=-1").status == 400


def test_no_function_is_offered_that_is_refused() -> None:
    for function in functions():
        call = f'"{function.name}"(1)'  # quoted: some have a syntax of their own
        text = f"SELECT * FROM {call}" if function.kind == "table" else f"SELECT {call}"
        assert refusal(parse(text)) is None, function


def test_names_that_need_quotes_have_them() -> None:
    assert [written(name) for name in ("fare", "Fare", "my fare", "select", 'a"b', "größe")] == [
        "fare", "Fare", '"my fare"', '"select"', '"a""b"', '"größe"',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "typed", "start"),
    [
        ("select ab", "ab", 7),
        ('select "my co', "my co", 7),
        ('select "done" ', "", 14),
        ("select größ", "größ", 7),
        ("select 12", "", 9),
    ],
)
def test_word_at_the_cursor_is_what_is_replaced(text: str, typed: str, start: int) -> None:
    context = context_at(text, len(text))
    assert (context.typed, context.start) == (typed, start)


def test_tables_are_known_by_their_aliases() -> None:
    sql = 'SELECT * FROM a, b AS x JOIN "C d" y ON x.i = y.i LEFT JOIN s.t USING (i) WHERE i IN (SELECT j FROM e WHERE k, l)'
    assert context_at(sql, 7).tables == {"a": "a", "x": "b", "y": "c d", "t": "s.t", "e": "e"}
