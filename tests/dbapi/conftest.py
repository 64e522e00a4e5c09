from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sabot_sql import dbapi


@pytest.fixture(scope="session")
def embedded(data: Path) -> Iterator[dbapi.Connection]:
    with dbapi.connect(data, num_local_agents=0) as connection:
        yield connection


@pytest.fixture(params=["embedded", "server"])
def connection(request: pytest.FixtureRequest) -> Iterator[dbapi.Connection]:
    """The same over an engine in this process and over a server."""
    if request.param == "embedded":
        yield request.getfixturevalue("embedded")
        return
    with dbapi.connect(request.getfixturevalue("server").url) as opened:
        yield opened
