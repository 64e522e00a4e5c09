"""`bench/operators.py` runs and compares all of its cases, at a size where nothing is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from bench import answers, operators


def test_every_case_gives_the_answer_of_duckdb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert operators.main(["--scale", "0.0003", "--repeats", "1", "--json", str(tmp_path / "found.json")]) == 0
    report = json.loads((tmp_path / "found.json").read_text())
    names = [case["name"] for case in report["cases"]]
    assert names == [case.name for case in operators.cases(0.0003)]
    assert len(set(names)) == len(names) == 41
    assert "geometric mean" in capsys.readouterr().out


def test_only_takes_a_part_of_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert operators.main(["--scale", "0.0003", "--repeats", "1", "--only", "top 100"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_large_answers_are_compared_as_bags() -> None:
    rows = answers.SMALL_ROWS + 2
    want = pa.table({"a": list(range(rows)), "b": ["x"] * rows})
    other = pa.table({"a": [*range(rows - 1), 0], "b": ["x"] * rows})
    assert answers.same_answer(want, want.take(list(reversed(range(rows)))), ()) == ""
    assert answers.same_answer(want, want.take(list(reversed(range(rows)))), (0,)) != ""
    assert answers.same_answer(want, other, ()) != ""


def test_large_answers_may_differ_in_the_last_digits_of_sums_only() -> None:
    rows = answers.SMALL_ROWS + 2
    want = pa.table({"k": list(range(rows)), "x": [i / 7 for i in range(rows)]})
    near = pa.table({"k": list(range(rows)), "x": [i / 7 * (1 + 1e-14) for i in range(rows)]})
    swapped = pa.table({"k": list(range(rows)), "x": [1 / 7, 0.0, *(i / 7 for i in range(2, rows))]})
    far = pa.table({"k": list(range(rows)), "x": [i / 7 * 1.001 for i in range(rows)]})
    assert answers.same_answer(want, near) == ""
    assert answers.same_answer(want, far) != ""
    assert answers.same_answer(want, swapped) != ""
