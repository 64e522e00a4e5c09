"""What a killed process spilled is removed by the next one; what a living one spills is not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pytest

from sabot_sql.executor.local_instance import Instance

CODE = """
import sys
from sabot_sql.executor.local_instance import Instance
instance = Instance(1, 1 << 28, "UTC", (), ())
print("made", flush=True)
sys.stdin.read()
"""


SORT = "SELECT max(r) FROM (SELECT row_number() OVER (ORDER BY hash(i)) r FROM range(3000000) t(i))"


def test_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    other = subprocess.Popen([sys.executable, "-c", CODE], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    (folder,) = tmp_path.iterdir()
    (folder / "duckdb").mkdir()
    (folder / "duckdb" / "spilled.tmp").write_bytes(b"rows")
    first = Instance(1, 1 << 28, "UTC", (), ())
    assert folder.exists()
    other.kill()
    other.communicate()
    second = Instance(1, 1 << 28, "UTC", (), ())
    assert not folder.exists()
    assert len(list(tmp_path.iterdir())) == 2
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_nothing_is_spilled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    instance = Instance(1, 32 << 20, "UTC", (), ())
    with pytest.raises(duckdb.OutOfMemoryException):
        instance._con.execute(SORT).fetchall()
    instance.close()
    assert list(tmp_path.iterdir()) == []


def test_with_one_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    instance = Instance(1, 32 << 20, "UTC", (), ())
    assert instance._con.execute(SORT).fetchall() == [(3_000_000,)]
    assert list(tmp_path.glob("*/duckdb"))
    instance.close()
    assert list(tmp_path.iterdir()) == []
