"""Random queries over random tables: the same answer on every route, or a refusal by name. `make fuzz` runs more of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import sabot_sql
from tests.corpus.random_queries import Queries
from tests.corpus.random_routes import BAD, Routes, Verdict, open_routes, smallest
from tests.corpus.random_selects import Choices

SEED = 1
COUNT = 50  # on each of two pools
CHUNK = 25  # queries a test


@pytest.fixture(scope="module", params=[pytest.param(2, marks=pytest.mark.slow), 3])
def routes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routes]:
    with open_routes(tmp_path_factory.mktemp("random"), SEED * 10 + request.param, request.param) as found:
        yield found


@pytest.mark.parametrize("route", ["distributed", "local"])
@pytest.mark.parametrize("chunk", range(0, COUNT, CHUNK))
def test_random_query_has_duckdbs_answer(routes: Routes, chunk: int, route: str) -> None:
    for number in range(chunk, chunk + CHUNK):
        choices = Choices(SEED * 1_000_000 + number)
        if routes.verdict(choices, route).outcome in BAD:
            pytest.fail(smallest(choices.taken, lambda c: routes.verdict(c, route)).complaint)


def test_failing_query_is_made_small() -> None:
    def judge(choices: Choices) -> Verdict:
        sql = Queries(choices).statement()[0]
        return Verdict("different", sql) if "OVER" in sql else Verdict("same")

    seed = next(s for s in range(1000) if judge(Choices(s)).complaint)
    choices = Choices(seed)
    before = judge(choices)
    after = smallest(choices.taken, judge)
    assert after.outcome == "different"
    assert len(after.complaint) < len(before.complaint)


def test_same_seed_makes_the_same_query() -> None:
    assert Queries(Choices(7)).statement() == Queries(Choices(7)).statement()


def test_value_without_result_is_an_error_of_the_query_and_not_of_the_file(routes: Routes) -> None:
    with pytest.raises(sabot_sql.QueryError, match="Overflow in negation"):
        routes.db.execute_sql("select - (k::usmallint + 1::usmallint) from big where k > 0", route="distributed", timeout_s=60)
