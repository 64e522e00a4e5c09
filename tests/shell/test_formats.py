"""Answers in every format, and display options, as pure functions."""

from __future__ import annotations

import pyarrow as pa
import pytest

from sabot_sql.errors import QueryError
from sabot_sql.shell.formats import Display, text_of
from sabot_sql.shell.session_commands import set_option

TABLE = pa.table({"n": [1, None], "s": ["a|b", "<c>\t\n"]})

EXPECTED = {
    "table": "┌──────┬─────────┐\n│    n │ s       │\n├──────┼─────────┤\n│    1 │ a|b     │\n"
    "│ NULL │ <c>\\t\\n │\n└──────┴─────────┘\n",
    "box": "╭──────┬─────────╮\n│    n │ s       │\n├──────┼─────────┤\n│    1 │ a|b     │\n├──────┼─────────┤\n"
    "│ NULL │ <c>\\t\\n │\n╰──────┴─────────╯\n",
    "vertical": "─[ row 1 ]───\nn │ 1\ns │ a|b\n─[ row 2 ]───\nn │ NULL\ns │ <c>\\t\\n\n",
    "unaligned": "n|s\n1|a|b\n|<c>\\t\\n\n",
    "csv": 'n,s\n1,a|b\n,"<c>\t\n"\n',
    "tsv": "n\ts\n1\ta|b\n\t<c>\\t\\n\n",
    "json": '[{"n":1,"s":"a|b"},\n {"n":null,"s":"<c>\\t\\n"}]\n',
    "ndjson": '{"n":1,"s":"a|b"}\n{"n":null,"s":"<c>\\t\\n"}\n',
    "markdown": "| n | s |\n| --- | --- |\n| 1 | a\\|b |\n| NULL | <c>\\t\\n |\n",
    "html": "<table>\n<tr><th>n</th><th>s</th></tr>\n<tr><td>1</td><td>a|b</td></tr>\n"
    "<tr><td></td><td>&lt;c&gt;\\t\\n</td></tr>\n</table>\n",
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_format(name: str) -> None:
    assert text_of(TABLE, Display(format=name)) == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("unaligned", "1|a|b\n-|<c>\\t\\n\n"),
        ("csv", '1,a|b\n,"<c>\t\n"\n'),
        ("markdown", "| 1 | a\\|b |\n| - | <c>\\t\\n |\n"),
        ("table", "┌───┬─────────┐\n│ 1 │ a|b     │\n│ - │ <c>\\t\\n │\n└───┴─────────┘\n"),
    ],
)
def test_rows_only_and_another_null(name: str, text: str) -> None:
    assert text_of(TABLE, Display(format=name, tuples_only=True, null="-")) == text


@pytest.mark.parametrize("name", ["table", "json", "csv", "markdown", "html", "unaligned", "vertical"])
def test_no_rows(name: str) -> None:
    text_of(TABLE.slice(0, 0), Display(format=name))


def test_only_the_first_rows_are_for_people() -> None:
    table = pa.table({"i": range(20)})
    assert "… 15 more rows" in text_of(table, Display(maxrows=5))
    assert text_of(table, Display(format="csv", maxrows=5)).count("\n") == 21
    assert "more rows" not in text_of(table, Display(maxrows=0))


def test_expanded_where_rows_are_wider_than_the_screen() -> None:
    display = Display(expanded="auto")
    assert text_of(TABLE, display, 80).startswith("┌")
    assert text_of(TABLE, display, 10).startswith("─[ row 1 ]")


def test_binary_formats_are_for_files() -> None:
    with pytest.raises(QueryError, match="binary"):
        text_of(TABLE, Display(format="parquet"))


@pytest.mark.parametrize(
    ("name", "value", "changed"),
    [
        ("format", "markdown", "markdown"),
        ("format", "mark", "markdown"),
        ("expanded", "auto", "auto"),
        ("expanded", "", "on"),
        ("tuples_only", "", True),
        ("null", "∅", "∅"),
        ("fieldsep", "\\t", "\t"),
        ("maxrows", "0", 0),
        ("pager", "off", False),
    ],
)
def test_option_is_set(name: str, value: str, changed: object) -> None:
    assert getattr(set_option(Display(), name, value), name) == changed


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("colour", "red", "no display option"), ("format", "xml", "no format"), ("maxrows", "-1", "number of rows"),
     ("format", "", "no format"), ("footer", "maybe", "neither on nor off")],
)  # fmt: skip
def test_option_is_refused(name: str, value: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        set_option(Display(), name, value)
