"""Kernels are compiled once, kept on disk, take read-only arrays, and mean the same without a compiler."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import sabot_sql
from sabot_sql.executor import kernel_cache
from sabot_sql.executor.kernels import aggregates

ROOT = Path(sabot_sql.__file__).parents[1]
TWINS = [
    "test_hashing.py",
    "test_interning.py",
    "test_grouping.py",
    "test_wide.py",
    "test_aggregates.py",
    "test_checksums.py",
    "test_expressions.py",
]

SUM = """
import numpy as np
from sabot_sql.executor import kernel_cache
from sabot_sql.executor.kernels import aggregates
totals = np.zeros(2, np.int64)
aggregates.count_rows(np.array([0, 1, 1]), totals)
print(totals.tolist(), kernel_cache.FOLDER)
"""

SEVERAL = """
import sys, time
import numpy as np
from sabot_sql.executor import kernel_cache
from sabot_sql.executor.kernels import aggregates, expressions
time.sleep(max(0.0, float(sys.argv[1]) - time.time()))
totals, less, sums = np.zeros(2, np.int64), np.zeros(3, np.uint8), np.zeros(1, np.int64)
aggregates.count_rows(np.array([0, 1, 1]), totals)
expressions.compare_ints_to(expressions.LT, np.array([1, 2, 3]), 3, less)
expressions.add_ints(np.array([1]), np.array([2]), -100, 100, sums)
print(totals.tolist(), less.tolist(), sums.tolist())
"""


def run(arguments: list[str], **env: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_kernels_mean_the_same_without_a_compiler() -> None:
    files = [str(Path(__file__).parent / name) for name in TWINS]
    run(["-m", "pytest", "-q", "-p", "no:cacheprovider", *files], NUMBA_DISABLE_JIT="1")


def test_machine_code_is_kept_in_the_configured_folder(tmp_path: Path) -> None:
    assert run(["-c", SUM], SABOT_KERNEL_CACHE=str(tmp_path)).startswith("[1, 2] " + str(tmp_path))
    code = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nbc")}
    assert code
    run(["-c", SUM], SABOT_KERNEL_CACHE=str(tmp_path))
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nbc")} == code


def test_four_processes_that_start_at_once_share_one_cache(tmp_path: Path) -> None:
    env = {**os.environ, "SABOT_KERNEL_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", SEVERAL, str(time.time() + 3)]
    running = [subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = {process.communicate()[0] for process in running}
    assert (answers, [process.returncode for process in running]) == ({"[1, 2] [1, 1, 0] [3]\n"}, [0] * 4)
    code = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nb?")}
    assert len(code) == 2 * 3  # each kernel was compiled once: an index and one piece of machine code
    run(["-c", SEVERAL, "0"], SABOT_KERNEL_CACHE=str(tmp_path))
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nb?")} == code


def test_a_folder_that_others_may_write_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / kernel_cache.source_fingerprint()
    folder.mkdir()
    folder.chmod(0o777)
    (tmp_path / "elsewhere").mkdir()
    out = run(["-c", SUM], SABOT_KERNEL_CACHE=str(tmp_path), TMPDIR=str(tmp_path / "elsewhere"))
    assert str(folder) not in out


def test_kernels_take_read_only_and_writable_arrays_with_one_compilation() -> None:
    totals, groups = np.zeros(2, np.int64), np.array([0, 1, 1])
    aggregates.count_rows(groups, totals)
    groups.flags.writeable = False
    aggregates.count_rows(groups, totals)
    assert totals.tolist() == [2, 4]
    assert len(aggregates.count_rows.dispatcher.signatures) == 1


def test_kernels_refuse_other_types() -> None:
    with pytest.raises(TypeError):
        aggregates.count_rows(np.array([0.5]), np.zeros(2, np.int64))
