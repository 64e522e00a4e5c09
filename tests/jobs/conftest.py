from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sabot_sql.config import Settings
from tests.jobs.hand_engine import HandManager


@pytest.fixture
def manager() -> Iterator[HandManager]:
    manager = HandManager(Settings())
    manager.start()
    yield manager
    manager.close()


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[HandManager]:
    manager = HandManager(Settings(state_dir=tmp_path / "state"))
    manager.start()
    yield manager
    manager.close()
