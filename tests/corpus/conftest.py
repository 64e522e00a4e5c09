from __future__ import annotations

import pytest

# How many queries of the corpus `make test` leaves out for each that it runs, by the number of agents; 0: the local route.
LEFT_OUT = {0: 1, 1: 5, 2: 0, 3: 5}


@pytest.hookimpl(tryfirst=True)  # before those that are not slow are selected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each query of the corpus runs on two agents, some also on one, on three and locally; the others are for
    `make test-slow`."""
    place = dict.fromkeys(LEFT_OUT, 0)
    for item in items:
        if isinstance(item, pytest.Function) and (item.originalname or "").endswith("_route_gives_duckdbs_answer"):
            agents = item.callspec.params.get("pool", 0)
            place[agents] += 1
            if (place[agents] + agents) % (LEFT_OUT[agents] + 1):
                item.add_marker(pytest.mark.slow)
