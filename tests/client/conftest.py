from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.live_server import LiveServer, live_server, write_tables


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def server(data: Path) -> Iterator[LiveServer]:
    with live_server(data, "--agents", "2") as running:
        yield running
