"""SQLAlchemy's own tests of dialects, over real engines. compliance/requirements.py says which do not apply, and why."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "compliance"


@pytest.mark.slow
def test_the_suite_of_sqlalchemy_passes() -> None:
    command = [sys.executable, "-m", "pytest", "-c", "setup.cfg", "--rootdir", ".", "--confcutdir", ".", "-q", "test_suite.py"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8_000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found is not None
    assert int(found[1]) > 700
