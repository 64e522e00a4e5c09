"""`bench/operators.py` runs and compares all of its cases, at a size where nothing is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from bench import operators


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
    rows = operators.SMALL_ROWS + 2
    want = pa.table({"a": list(range(rows)), "b": ["x"] * rows})
    other = pa.table({"a": [*range(rows - 1), 0], "b": ["x"] * rows})
    assert operators.same_answer(want, want.take(list(reversed(range(rows)))), ()) == ""
    assert operators.same_answer(want, want.take(list(reversed(range(rows)))), (0,)) != ""
    assert operators.same_answer(want, other, ()) != ""
