from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)  # before those that are not slow are selected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each query of the corpus runs on two agents, and in turn on one or on three; the third is for `make test-slow`."""
    place: dict[int, int] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.originalname == "test_distributed_route_gives_duckdbs_answer":
            agents = item.callspec.params["pool"]
            place[agents] = place.get(agents, 0) + 1
            if agents != 2 and place[agents] % 2 == agents // 2:
                item.add_marker(pytest.mark.slow)
