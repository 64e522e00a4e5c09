"""docs/sql.md says what runs on the agents as it is."""

from __future__ import annotations

import pytest

from tests.corpus.data import make_tables
from tests.corpus.queries import load
from tests.corpus.sql_map import BEGIN, END, PAGE, Coverage, coverage, draw


@pytest.fixture(scope="module")
def covered(tmp_path_factory: pytest.TempPathFactory) -> list[Coverage]:
    folder = tmp_path_factory.mktemp("map")
    return coverage(load(), make_tables(folder / "data"), folder / "scratch")


def test_coverage_map_is_what_the_planner_does(covered: list[Coverage], request: pytest.FixtureRequest) -> None:
    made = draw(covered)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    written, _, after = rest.partition(END)
    if request.config.getoption("--goldens"):
        PAGE.write_text(f"{before}{BEGIN}{made}{END}{after}", encoding="utf-8")
        return
    assert written == made, "`make goldens` writes docs/sql.md anew"


def test_only_what_is_marked_is_refused(covered: list[Coverage]) -> None:
    assert [c.query.sql for c in covered if (c.home == "refused") != bool(c.query.not_distributed)] == []
