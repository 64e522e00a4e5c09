"""A few of the runs of `make chaos`: agents are killed in the middle of each kind of stage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.queries import QUERIES, make
from tests.chaos.strikes import PLACES, Cluster, Place, Strike, one_machine, without_retries

NAMES = ("many groups", "partitioned join")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def struck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("chaos")
    make(folder, 2_000_000)
    with one_machine(folder, 3) as found:
        for name in NAMES:
            found.learn(QUERIES[name])
        yield found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", PLACES)
def test_a_kill_changes_no_answer(struck: Cluster, place: Place, name: str) -> None:
    for seed, moment in enumerate((0.1, 0.5, 0.9)):
        outcome = struck.run(QUERIES[name], Strike("kill", place, moment, seed))
        assert (outcome.wrong, outcome.error) == ("", "")


def test_without_retries_a_kill_ends_the_query(struck: Cluster) -> None:
    with without_retries():
        errors = {struck.run(QUERIES["many groups"], Strike("kill", "scan", 0.3, seed)).error for seed in range(5)}
    assert "AGENT_LOST" in errors
    assert errors <= {"AGENT_LOST", ""}
