from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.live_server import LiveServer, shared_data, shared_server


@pytest.fixture(scope="session")
def data() -> Path:
    return shared_data()


@pytest.fixture(scope="session")
def server() -> LiveServer:
    return shared_server()
