from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

collect_ignore = ["compliance"]  # has a pytest of its own: test_compliance.py


@pytest.fixture(scope="session")
def embedded(data: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sabot:///{data}?num_local_agents=0")
    yield engine
    engine.dispose()


@pytest.fixture(params=["embedded", "server"])
def engine(request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    """The same over an engine in this process and over a server."""
    if request.param == "embedded":
        yield request.getfixturevalue("embedded")
        return
    opened = sa.create_engine(request.getfixturevalue("server").url.replace("http://", "sabot://"))
    yield opened
    opened.dispose()
