"""The plots in docs/benchmarks are those of the reports beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.plots import FOLDER, PLOTS, draw
from tests.documents import page


@pytest.mark.parametrize("name", PLOTS)
def test_plot_is_drawn_from_the_report(name: str, tmp_path: Path) -> None:
    report = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert "duckdb 2." in report["machine"]
    draw(name, report, tmp_path / "drawn.svg")
    assert (tmp_path / "drawn.svg").read_text() == (FOLDER / f"{name}.svg").read_text(), "`make plots` draws it anew"
    assert f"benchmarks/{name}.svg" in page("benchmarks.md")


def test_another_report_gives_another_plot(tmp_path: Path) -> None:
    report = json.loads((FOLDER / "overhead.json").read_text(encoding="utf-8"))
    report["one at a time"]["bind_ms"]["p50"] += 1.0
    draw("overhead", report, tmp_path / "drawn.svg")
    assert (tmp_path / "drawn.svg").read_text() != (FOLDER / "overhead.svg").read_text()
