"""Blocks have a budget: shared memory first, then disk, then an error that names the setting."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sabot_sql.agents.agent import Agent, AgentConfig
from sabot_sql.agents.block_budget import BlockBudget, Place, bytes_by_job
from sabot_sql.agents.block_root import SHARED_MEMORY, BlockRoot, shared_memory_bytes
from sabot_sql.agents.blocks import FileBlockWriter, LocalBlockReader
from sabot_sql.agents.flight import AgentServer, FlightBlockReader
from sabot_sql.agents.machine_memory import machine_memory
from sabot_sql.agents.pool import AgentPool
from sabot_sql.config import AgentSettings
from sabot_sql.errors import OutOfMemory, SabotError
from sabot_sql.executor.exchange import BlockFile
from sabot_sql.planner.physical import HashAggregate, Stage
from tests.agents.processes import until
from tests.agents.stages import SESSION, constant_stage, endless_stage, values_of

MB = 1 << 20


@pytest.fixture
def places(tmp_path: Path) -> tuple[Place, Place]:
    """A first place of 4 MB and a second one of 16 MB, with folders for two jobs."""
    for name in ("first/job", "first/other", "second/job", "second/other"):
        (tmp_path / name).mkdir(parents=True)
    first = Place(str(tmp_path / "first"), 4 * MB, 0, "agents.block_memory_bytes")
    return first, Place(str(tmp_path / "second"), 16 * MB)


def batch(number: int, num_bytes: int = MB // 2) -> pa.RecordBatch:
    return pa.record_batch({"n": np.full(num_bytes // 8, number)})


def writer(budget: BlockBudget, task: int = 0, job: str = "job", uri: str = "") -> FileBlockWriter:
    return FileBlockWriter(Path(budget.places[0].root), job, 0, task, 1, "agent-0", uri, budget)


def write(budget: BlockBudget, num_batches: int, task: int = 0, job: str = "job", uri: str = "") -> BlockFile:
    out = writer(budget, task, job, uri)
    for number in range(num_batches):
        out.write(number % 2, batch(number))
    return out.finish()


def numbers(block: BlockFile) -> list[list[int]]:
    return [[b.column(0)[0].as_py() for b in LocalBlockReader().read(block, p)] for p in (0, 1)]


def fill(out: FileBlockWriter) -> None:
    """Let the file be on a file system without room from now on."""
    assert out._file is not None
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), out._file.fileno())


def names(place: Place, job: str = "job") -> list[str]:
    return sorted(os.listdir(Path(place.root) / job))


def test_a_block_that_fits_lies_in_the_first_place(places: tuple[Place, Place]) -> None:
    block = write(BlockBudget(places), 3)
    assert Path(block.path) == Path(places[0].root) / "job" / "0-0-1.arrow"
    assert names(places[1]) == []


def test_a_block_that_outgrows_the_first_place_moves_to_the_second_and_keeps_its_batches(places: tuple[Place, Place]) -> None:
    block = write(BlockBudget(places), 12)
    assert Path(block.path) == Path(places[1].root) / "job" / "0-0-1.arrow"
    assert (names(places[0]), names(places[1])) == ([], ["0-0-1.arrow"])
    assert numbers(block) == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]


def test_blocks_of_several_tasks_fill_the_first_place_before_the_second(places: tuple[Place, Place]) -> None:
    budget = BlockBudget(places)
    blocks = [write(budget, 2, task) for task in range(8)]
    lies = [Path(b.path).parent.parent.name for b in blocks]
    assert lies == sorted(lies)
    assert 2 <= lies.count("first") <= 4
    assert [numbers(b) for b in blocks] == [[[0], [1]]] * 8


def test_processes_see_each_others_blocks(places: tuple[Place, Place]) -> None:
    for task in range(3):
        write(BlockBudget(places), 2, task)
    assert Path(write(BlockBudget(places), 2, 3).path).parent.parent.name == "second"


def test_past_the_last_place_the_error_names_the_setting_and_nothing_is_left(places: tuple[Place, Place]) -> None:
    budget = BlockBudget(places)
    out = writer(budget)
    with pytest.raises(
        OutOfMemory, match=r"agents\.block_disk_bytes lets blocks take 16\.8 MB .* one query 14\.7 MB"
    ) as caught:
        for number in range(100):
            out.write(0, batch(number))
    assert "SABOT_AGENTS__BLOCK_DISK_BYTES" in str(caught.value.hint)
    out.abort()
    assert [names(p) for p in places] == [[], []]


def test_a_job_that_ran_into_the_limit_leaves_room_for_others(places: tuple[Place, Place]) -> None:
    budget = BlockBudget(places)
    out = writer(budget)
    with pytest.raises(OutOfMemory):
        for number in range(100):
            out.write(0, batch(number))
    assert numbers(write(budget, 2, job="other")) == [[0], [1]]


def test_room_of_a_dropped_job_is_there_again_at_once(places: tuple[Place, Place]) -> None:
    budget = BlockBudget(places[1:])
    for _ in range(5):
        write(budget, 24)
        shutil.rmtree(Path(places[1].root) / "job")
        (Path(places[1].root) / "job").mkdir()


def test_a_disk_with_little_free_is_left_alone(places: tuple[Place, Place]) -> None:
    budget = BlockBudget((replace(places[1], keep_free_bytes=1 << 60),))
    with pytest.raises(OutOfMemory, match=r"agents\.block_disk_free_bytes keeps 1,152,921,504\.6 GB free in"):
        write(budget, 1)


@pytest.mark.parametrize("num_before", [0, 1, 3])
def test_a_place_that_is_full_before_its_limit_is_left(places: tuple[Place, Place], num_before: int) -> None:
    out = writer(BlockBudget((replace(places[0], limit_bytes=1 << 40), places[1])))
    if num_before == 0:
        (Path(places[0].root) / "job" / "0-0-1.part").symlink_to("/dev/full")
    for number in range(4):
        if number == num_before > 0:
            fill(out)
        out.write(number % 2, batch(number))
    block = out.finish()
    assert Path(block.path).parent.parent.name == "second"
    assert (numbers(block), names(places[0])) == ([[0, 2], [1, 3]], [])


def test_a_place_that_is_full_at_the_end_of_a_block_is_left(places: tuple[Place, Place]) -> None:
    out = writer(BlockBudget(places))
    out.write(0, batch(0))
    fill(out)
    block = out.finish()
    assert Path(block.path).parent.parent.name == "second"
    assert numbers(block) == [[0], []]


def test_a_last_place_that_is_full_is_an_error(places: tuple[Place, Place]) -> None:
    out = writer(BlockBudget(places[1:]))
    out.write(0, batch(0))
    fill(out)
    with pytest.raises(OutOfMemory, match=f"no space left in {places[1].root}"):
        out.write(0, batch(1))
    out.abort()
    assert names(places[1]) == []


def test_a_block_in_any_place_is_streamed(places: tuple[Place, Place]) -> None:
    server = AgentServer(Agent("agent-0", AgentConfig("token", places), LocalBlockReader()))
    reader = FlightBlockReader("token")
    budget, uri = BlockBudget(places), f"grpc://127.0.0.1:{server.port}"
    for block in (write(budget, 2, 0, uri=uri), write(budget, 12, 1, uri=uri)):
        assert sum(b.num_rows for p in (0, 1) for b in reader.read(block, p)) == block.rows
    reader.close()
    server.shutdown()


def flood_stage(folder: Path) -> Stage:
    """Two tasks that each hand on 10,000,000,000 rows."""
    stage = endless_stage(folder)
    assert isinstance(stage.root, HashAggregate)
    return replace(stage, root=stage.root.input)


def test_a_query_that_floods_the_pool_fails_alone_and_leaves_nothing(tmp_path: Path) -> None:
    settings = AgentSettings(count=2, threads=2, block_memory_bytes=8 * MB, block_disk_bytes=64 * MB)
    pool = AgentPool(settings, tmp_path / "state")
    try:
        kept = pool.run_stage("kept", constant_stage(2), {}, SESSION)
        running = pool._running
        assert running is not None
        roots, pids = running.root.paths, [a.pid for a in pool.agents()]
        with pytest.raises(OutOfMemory, match=r"agents\.block_disk_bytes lets blocks take 67\.1 MB in"):
            pool.run_stage("flood", flood_stage(tmp_path), {}, SESSION)
        assert values_of(pool, kept) == [42, 42]
        assert values_of(pool, pool.run_stage("next", constant_stage(2), {}, SESSION)) == [42, 42]
        until(lambda: not any(bytes_by_job(str(root)).get("flood") for root in roots))
        assert [a.pid for a in pool.agents()] == pids
    finally:
        pool.stop()
    assert not any(root.exists() for root in roots)
    assert list((tmp_path / "state").iterdir()) == []


def test_a_flood_stays_within_its_limits_while_it_grows(tmp_path: Path) -> None:
    settings = AgentSettings(count=2, threads=1, block_memory_bytes=16 * MB, block_disk_bytes=64 * MB)
    pool = AgentPool(settings, tmp_path / "state")
    most = [0, 0]
    try:
        pool.start(wait=True)
        running = pool._running
        assert running is not None
        call = threading.Thread(target=quietly, args=(lambda: pool.run_stage("flood", flood_stage(tmp_path), {}, SESSION),))
        call.start()
        while call.is_alive():
            most = [max(m, sum(bytes_by_job(str(r)).values())) for m, r in zip(most, running.root.paths)]
    finally:
        pool.stop()
    assert 4 * MB < most[0] <= 20 * MB
    assert 16 * MB < most[1] <= 72 * MB


def quietly(call: Callable[[], object]) -> None:
    with contextlib.suppress(SabotError):
        call()


def test_what_a_dead_coordinator_left_on_disk_is_swept_by_the_next_with_the_same_state_folder(tmp_path: Path) -> None:
    script = "import os, sys, pathlib; from sabot_sql.agents.block_root import BlockRoot; "
    script += "root = BlockRoot(pathlib.Path(sys.argv[1])); root.open_job('job'); print(*root.paths, flush=True); os._exit(0)"
    old, new = tmp_path / "scratch" / "old", tmp_path / "scratch" / "new"
    done = subprocess.run([sys.executable, "-c", script, str(old)], stdout=subprocess.PIPE, text=True, check=True)
    left = [Path(name) for name in done.stdout.split()]
    assert all((path / "job").is_dir() for path in left)
    assert left[-1].parent == old / "blocks"
    BlockRoot(new).remove()
    assert not any(path.exists() for path in left)


def test_shared_memory_that_is_asked_for_is_taken_as_asked() -> None:
    assert (shared_memory_bytes(12345), shared_memory_bytes(0)) == (12345, 0)
    total, available = machine_memory()
    assert 0 < available <= total
    assert shared_memory_bytes("auto") <= shutil.disk_usage(SHARED_MEMORY).free // 2


def test_without_shared_memory_blocks_lie_on_disk(tmp_path: Path) -> None:
    root = BlockRoot(tmp_path, AgentSettings(block_memory_bytes=0))
    assert [p.limit_setting for p in root.places] == ["agents.block_disk_bytes"]
    root.remove()
