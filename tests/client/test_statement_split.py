from __future__ import annotations

import pytest

from sabot_sql.client.statement_split import split_statements


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("select 1; select 2", ["select 1"], "select 2"),
        ("select 1;\n\nselect 2;\n", ["select 1", "select 2"], ""),
        (";;; ;", [], ""),
        ("-- only ; a comment\n", [], ""),
        ("/* a ; /* nested ; */ b ; */ select 1;", ["/* a ; /* nested ; */ b ; */ select 1"], ""),
        ("select 'it''s ; here';", ["select 'it''s ; here'"], ""),
        ("select e'\\' ; ';", ["select e'\\' ; '"], ""),
        ('select "a;b" from t;', ['select "a;b" from t'], ""),
        ("select $$ ; $$, $tag$ ; $$ ; $tag$;", ["select $$ ; $$, $tag$ ; $$ ; $tag$"], ""),
        ("select $1 + $2; select $x", ["select $1 + $2"], "select $x"),
        ("select 'open ; ", [], "select 'open ;"),
        ("select 1 /* open ; ", [], "select 1 /* open ;"),
        ("select 1 -- end ;\n;", ["select 1 -- end ;"], ""),
        ("", [], ""),
    ],
)
def test_semicolons_inside_quotes_and_comments_end_nothing(text: str, statements: list[str], rest: str) -> None:
    assert split_statements(text) == (statements, rest)
