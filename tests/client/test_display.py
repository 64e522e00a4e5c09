from __future__ import annotations

import io

import duckdb
import pyarrow as pa

from sabot_sql.client.display import milliseconds_text, print_expanded, print_table
from sabot_sql.client.progress_line import ProgressLine, count_text, progress_text
from sabot_sql.engine.request import Progress


def drawn(table: pa.Table, **options: int) -> str:
    out = io.StringIO()
    print_table(table, out, **options)
    return out.getvalue()


def test_table_aligns_numbers_right_and_names_null() -> None:
    table = pa.table({"n": [1, 200], "text": ["a", None]})
    assert drawn(table) == ("┌─────┬──────┐\n│   n │ text │\n├─────┼──────┤\n│   1 │ a    │\n│ 200 │ NULL │\n└─────┴──────┘\n")


def test_table_says_how_many_rows_it_left_out() -> None:
    assert drawn(pa.table({"n": list(range(1500))}), max_rows=2).endswith("… 1,498 more rows\n")


def test_control_characters_do_not_reach_the_terminal() -> None:
    text = drawn(pa.table({"a\x1b[31m": ["x\x1b[2Jy\nz\t\x9b"]}))
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert "x\\x1b[2Jy\\nz\\t" in text


def test_markup_in_values_is_shown_as_it_is() -> None:
    assert "[red]x[/red]" in drawn(pa.table({"a": ["[red]x[/red]"]}))


def test_times_and_nested_values_are_readable() -> None:
    sql = "SELECT TIMESTAMP '2026-01-02 03:04:05' a, TIMESTAMPTZ '2026-01-02 03:04:05+00' b, {'x': [1, NULL]} c, true d"
    text = drawn(duckdb.connect().sql(sql).to_arrow_table())
    assert '│ 2026-01-02 03:04:05 │ 2026-01-02 03:04:05+00 │ {"x":[1,null]} │ true │' in text


def test_wide_table_is_not_cut_in_a_file() -> None:
    line = "x" * 5000
    assert line in drawn(pa.table({"a": [line]}))


def test_expanded_display_has_a_field_a_line() -> None:
    out = io.StringIO()
    print_expanded(pa.table({"a": [1], "long": [None]}), out)
    assert out.getvalue().splitlines() == ["─[ row 1 ]──────", "a    │ 1", "long │ NULL"]


def test_durations_and_counts_are_short() -> None:
    assert (milliseconds_text(3.44), milliseconds_text(12_000)) == ("3.4 ms", "12.0 s")
    assert (count_text(950), count_text(12_300_000)) == ("950", "12.3 M")


def test_progress_text_names_stage_and_tasks() -> None:
    text = progress_text(Progress(stages=2, stages_done=2, tasks=4, tasks_done=4), 2.0)
    assert text == "████████████████████████ 100 %  stage 2/2  tasks 4/4  2 s"


def test_progress_is_silent_where_nobody_looks() -> None:
    out = io.StringIO()
    with ProgressLine(out) as line:
        line(Progress(tasks=1))
    assert out.getvalue() == ""
