"""Commands and variables in a text, as pure functions."""

from __future__ import annotations

import pytest

from sabot_sql.errors import QueryError
from sabot_sql.shell.lexing import interpolate, parameter, split_command, switch, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("select 1;", ("select 1;", None, "")),
        ("\\d trips", ("", "\\d trips", "")),
        ("select 1 \\gx\nselect 2;", ("select 1 ", "\\gx", "select 2;")),
        ("select '\\d', \"\\d\" -- \\d\n\\g", ("select '\\d', \"\\d\" -- \\d\n", "\\g", "")),
        ("select $$ \\d $$ \\p", ("select $$ \\d $$ ", "\\p", "")),
        ("select /* \\d */ 1 \\g", ("select /* \\d */ 1 ", "\\g", "")),
        ("select /* \\d ", ("select /* \\d ", None, "")),
        ("/* /* */ \\d */ \\g", ("/* /* */ \\d */ ", "\\g", "")),
        ("select e'\\n' \\g", ("select e'\\n' ", "\\g", "")),
        ("select 'open \\g", ("select 'open \\g", None, "")),
    ],
)
def test_command_is_found(text: str, found: tuple[str, str | None, str]) -> None:
    assert split_command(text) == found


@pytest.mark.parametrize(
    ("sql", "filled"),
    [
        ("select :n", "select 5"),
        ("select :'name'", "select 'it''s'"),
        ('select :"name"', 'select "it\'s"'),
        ("select :unknown, :'unknown'", "select :unknown, :'unknown'"),
        ("select x::n, a[1:n], {'a': n}", "select x::n, a[1:n], {'a': n}"),
        ("select ':n', \":n\", $$:n$$ -- :n", "select ':n', \":n\", $$:n$$ -- :n"),
        ("select (:n)+:n", "select (5)+5"),
    ],
)
def test_variables_are_filled_in(sql: str, filled: str) -> None:
    assert interpolate(sql, {"n": "5", "name": "it's"}) == filled


def test_words_keep_quoted_blanks() -> None:
    assert words("a 'b c' \"d\"") == ["a", "b c", "d"]
    with pytest.raises(QueryError, match="not closed"):
        words("a 'b")


def test_parameters_are_json_or_text() -> None:
    assert [parameter(t) for t in ("5", "1.5", "true", "null", '"5"', "abc", "[1]")] == [5, 1.5, True, None, "5", "abc", [1]]


def test_switch() -> None:
    assert [switch(t, True) for t in ("on", "OFF", "", "1", "false")] == [True, False, False, True, False]
    with pytest.raises(QueryError, match="neither on nor off"):
        switch("maybe", True)
