"""The plans of docs/plans.md are those that EXPLAIN gives; `make goldens` writes them anew."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from sabot_sql.cli.demo import make_data
from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine.engine import Engine
from sabot_sql.engine.request import QueryRequest
from sabot_sql.planner.explain import draw_stages

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "plans.md"
QUERIES = ROOT / "bench" / "accept" / "tpch" / "queries"
PLAN = re.compile(r"(<!-- plan of (q\d\d) -->\n```\n).*?(```\n)", re.DOTALL)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The demo's data, with statistics learnt, for two agents of one slot."""
    folder = tmp_path_factory.mktemp("plans")
    data = make_data(folder, 0.1, Console(file=io.StringIO()))
    engine = Engine(Settings(agents=AgentSettings(count=2, threads=1)), str(data), folder / "scratch")
    engine.catalog.learn(engine.catalog.tables())
    assert engine.catalog.wait_learned(120)
    yield engine
    engine.close()


@pytest.mark.slow
def test_plans_are_what_explain_gives(engine: Engine, request: pytest.FixtureRequest) -> None:
    def now(found: re.Match[str]) -> str:
        sql = (QUERIES / f"{found[2]}.sql").read_text()
        plan = engine.prepare(QueryRequest(sql, route="distributed")).plan
        assert plan is not None
        return f"{found[1]}{draw_stages(plan)}\n{found[3]}"

    written = PAGE.read_text(encoding="utf-8")
    made = PLAN.sub(now, written)
    assert len(PLAN.findall(written)) == 4
    if request.config.getoption("--goldens"):
        PAGE.write_text(made, encoding="utf-8")
        return
    assert made == written, "`make goldens` writes docs/plans.md anew"
