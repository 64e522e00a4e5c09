from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)  # before those that are not slow are selected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each query of the corpus runs on two agents, some on one or three, too; the others are for `make test-slow`."""
    place: dict[int, int] = {}
    for item in items:
        if isinstance(item, pytest.Function) and item.originalname == "test_distributed_route_gives_duckdbs_answer":
            agents = item.callspec.params["pool"]
            place[agents] = place.get(agents, 0) + 1
            if agents != 2 and place[agents] % 4 != agents:
                item.add_marker(pytest.mark.slow)
