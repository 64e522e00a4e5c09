from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from sabot_sql.agents.agent import Agent, AgentConfig
from sabot_sql.agents.block_budget import BlockBudget, Place
from sabot_sql.agents.block_root import BlockRoot
from sabot_sql.agents.blocks import FileBlockWriter, LaneReader, LocalBlockReader, adopt_file, file_chunks
from sabot_sql.agents.flight import AgentServer, FlightBlockReader
from sabot_sql.errors import AgentLost, Cancelled, InternalError, ReadError
from sabot_sql.executor.exchange import BlockFile, BlockReader, PartitionBlock
from sabot_sql.executor.owned_folders import sweep

TOKEN = "secret"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path


@pytest.fixture
def server(root: Path) -> Iterator[AgentServer]:
    agent = Agent("agent-0", AgentConfig(TOKEN, (Place(str(root)),)), LocalBlockReader())
    server = AgentServer(agent)
    yield server
    server.shutdown()


@pytest.fixture
def flight_reader() -> Iterator[FlightBlockReader]:
    reader = FlightBlockReader(TOKEN)
    yield reader
    reader.close()


def batch(*values: int | None) -> pa.RecordBatch:
    return pa.record_batch({"c0": pa.array(values, pa.int64()), "c1": pa.array([str(v) for v in values], pa.large_string())})


def writer(root: Path, uri: str = "", task: int = 0) -> FileBlockWriter:
    return FileBlockWriter(root, "job", 0, task, 1, "agent-0", uri)


def written(root: Path, uri: str = "") -> BlockFile:
    """Partition 0: (1, 2), (4). Partition 3: (3, NULL)."""
    out = writer(root, uri)
    out.write(0, batch(1, 2))
    out.write(3, batch(3, None))
    out.write(0, batch(4))
    return out.finish()


def rows(reader: BlockReader, block: BlockFile, partition: int) -> list[int | None]:
    return [v for b in reader.read(block, partition) for v in b.column(0).to_pylist()]


def test_a_finished_block_lists_the_batches_of_each_partition(root: Path) -> None:
    block = written(root)
    assert [(p.partition, p.rows, p.batches) for p in block.partitions] == [(0, 3, (0, 2)), (3, 2, (1,))]
    assert Path(block.path) == root / "job" / "0-0-1.arrow"
    assert [f.name for f in (root / "job").iterdir()] == ["0-0-1.arrow"]


def test_partitions_are_mapped_in_sequence(root: Path) -> None:
    block = written(root)
    assert [rows(LocalBlockReader(), block, p) for p in (0, 1, 3)] == [[1, 2, 4], [], [3, None]]


def test_partitions_are_streamed_in_sequence(root: Path, server: AgentServer, flight_reader: FlightBlockReader) -> None:
    block = written(root, f"grpc://127.0.0.1:{server.port}")
    assert [rows(flight_reader, block, p) for p in (0, 1, 3)] == [[1, 2, 4], [], [3, None]]


def test_streams_may_be_compressed(root: Path, flight_reader: FlightBlockReader) -> None:
    agent = Agent("agent-0", AgentConfig(TOKEN, (Place(str(root)),), compression="lz4"), LocalBlockReader())
    server = AgentServer(agent)
    try:
        block = written(root, f"grpc://127.0.0.1:{server.port}")
        assert [rows(flight_reader, block, p) for p in (0, 1, 3)] == [[1, 2, 4], [], [3, None]]
        bare = writer(root, block.flight_uri, 1)
        bare.write(0, batch(1, 2, 3).select([]))
        assert [b.num_rows for b in flight_reader.read(bare.finish(), 0)] == [3]
    finally:
        server.shutdown()


def test_batches_without_columns_keep_their_rows(root: Path, server: AgentServer, flight_reader: FlightBlockReader) -> None:
    out = writer(root, f"grpc://127.0.0.1:{server.port}")
    out.write(0, batch(1, 2, 3).select([]))
    block = out.finish()
    assert block.rows == 3
    for reader in (LocalBlockReader(), flight_reader):
        assert [b.num_rows for b in reader.read(block, 0)] == [3]


def test_a_task_without_rows_makes_no_file(root: Path) -> None:
    block = writer(root).finish()
    assert (block.partitions, block.path, list((root / "job").iterdir())) == ((), "", [])
    assert rows(LocalBlockReader(), block, 0) == []


def test_mapped_batches_outlive_their_file(root: Path) -> None:
    block = written(root)
    batches = list(LocalBlockReader().read(block, 0))
    Path(block.path).unlink()
    assert batches[0].equals(batch(1, 2))


def test_an_unfinished_block_is_invisible_and_abort_leaves_nothing(root: Path) -> None:
    out = writer(root)
    out.write(0, batch(1))
    assert not (root / "job" / "0-0-1.arrow").exists()
    out.abort()
    out.abort()
    assert list((root / "job").iterdir()) == []


def test_fewer_rows_than_announced_is_an_error_on_both_lanes(
    root: Path, server: AgentServer, flight_reader: FlightBlockReader
) -> None:
    block = written(root, f"grpc://127.0.0.1:{server.port}")
    lying = replace(block, partitions=(PartitionBlock(0, 4, 100, (0, 2)),))
    for reader in (LocalBlockReader(), flight_reader):
        with pytest.raises(ReadError, match="block 0-0-1 of job job gave 3 rows of partition 0, not 4"):
            rows(reader, lying, 0)


def test_a_missing_file_is_named_on_both_lanes(root: Path, server: AgentServer, flight_reader: FlightBlockReader) -> None:
    block = written(root, f"grpc://127.0.0.1:{server.port}")
    Path(block.path).unlink()
    for reader in (LocalBlockReader(), flight_reader):
        with pytest.raises(ReadError, match="block 0-0-1 of job job is missing") as caught:
            rows(reader, block, 0)
        assert caught.value.problem.code == "FILE_MISSING"


def test_a_file_cut_short_is_an_error(root: Path) -> None:
    block = written(root)
    data = Path(block.path).read_bytes()
    Path(block.path).write_bytes(data[: len(data) // 2])
    with pytest.raises(ReadError, match="block 0-0-1 of job job is damaged") as caught:
        rows(LocalBlockReader(), block, 0)
    assert caught.value.problem.code == "BLOCK_DAMAGED"


def test_every_changed_byte_of_a_partition_is_noticed_on_both_lanes(
    root: Path, server: AgentServer, flight_reader: FlightBlockReader
) -> None:
    block = written(root, f"grpc://127.0.0.1:{server.port}")
    whole = Path(block.path).read_bytes()
    spans = block.partitions[0].spans
    places = [place for begin, end in zip(spans[::2], spans[1::2]) for place in range(begin, end)]
    for place in places:
        for reader in (LocalBlockReader(), flight_reader) if place % 50 == 0 else (LocalBlockReader(),):
            Path(block.path).write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
            with pytest.raises(ReadError, match="block 0-0-1 of job job is damaged"):
                rows(reader, block, 0)
            assert not Path(block.path).exists()  # nobody reads it any more
    Path(block.path).write_bytes(whole)
    assert rows(LocalBlockReader(), block, 0) == rows(flight_reader, block, 0) == [1, 2, 4]


def test_a_block_that_moved_to_disk_keeps_its_checksums(tmp_path: Path) -> None:
    places = tuple(Place(str(tmp_path / name), limit) for name, limit in (("small", 3000), ("large", 1 << 30)))
    for place in places:
        (Path(place.root) / "job").mkdir(parents=True)
    out = FileBlockWriter(tmp_path, "job", 0, 0, 1, "agent-0", "", BlockBudget(places))
    for i in range(40):
        out.write(i % 3, batch(*range(i, i + 20)))
    block = out.finish()
    assert "large" in block.path
    assert [len(rows(LocalBlockReader(), block, p)) for p in range(3)] == [280, 260, 260]


def test_a_block_file_is_copied_whole_or_not_at_all(root: Path, tmp_path: Path) -> None:
    block = written(root)
    (tmp_path / "other" / "job").mkdir(parents=True)
    budget = BlockBudget((Place(str(tmp_path / "other")),))
    name, chunks = ("job", 0, 0, 1), list(file_chunks(Path(block.path)))
    adopt_file(budget, name, block.size_bytes, chunks)
    copy = replace(block, path=str(tmp_path / "other" / "job" / "0-0-1.arrow"))
    assert rows(LocalBlockReader(), copy, 0) == [1, 2, 4]
    Path(copy.path).unlink()
    (data, _), end = chunks
    for bad in ([(data[:-1], False), end], [(data, False)]):
        with pytest.raises(ReadError, match="came damaged"):
            adopt_file(budget, name, block.size_bytes, bad)
    assert list((tmp_path / "other" / "job").iterdir()) == []


def test_an_agent_that_is_not_there_is_lost(root: Path, flight_reader: FlightBlockReader) -> None:
    block = written(root, "grpc://127.0.0.1:1")
    with pytest.raises(AgentLost, match="agent agent-0, which has block 0-0-1 of job job, could not be reached"):
        rows(flight_reader, block, 0)


def test_a_ticket_cannot_leave_the_block_root(server: AgentServer, root: Path, flight_reader: FlightBlockReader) -> None:
    block = replace(written(root, f"grpc://127.0.0.1:{server.port}"), job_id="../job")
    with pytest.raises(InternalError, match="cannot name a folder"):
        rows(flight_reader, block, 0)


def test_the_lane_decides_between_mapping_and_streaming(root: Path, flight_reader: FlightBlockReader) -> None:
    block = written(root, "grpc://127.0.0.1:1")
    assert rows(LaneReader("file", LocalBlockReader(), flight_reader), block, 0) == [1, 2, 4]
    for lane, from_elsewhere in (("flight", block), ("file", replace(block, host="elsewhere"))):
        with pytest.raises(AgentLost):
            rows(LaneReader(lane, LocalBlockReader(), flight_reader), from_elsewhere, 0)  # type: ignore[arg-type]


def test_writing_into_a_dropped_job_is_cancelled() -> None:
    root = BlockRoot()
    try:
        root.open_job("job")
        out = writer(root.path)
        out.write(0, batch(1))
        root.drop_job("job")
        with pytest.raises(Cancelled):
            out.finish()
        with pytest.raises(Cancelled):
            writer(root.path).write(0, batch(1))
        out.abort()
    finally:
        root.remove()
    assert not root.path.exists()


def test_root_that_nobody_comes_to_remove_goes_with_the_process() -> None:
    script = "from sabot_sql.agents.block_root import BlockRoot; print(*BlockRoot().paths); raise SystemExit(143)"
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert (done.returncode, bool(done.stdout.split())) == (143, True)
    assert not any(Path(path).exists() for path in done.stdout.split())


def test_a_living_coordinators_root_is_not_swept() -> None:
    first, second = BlockRoot(), BlockRoot()
    try:
        assert first.path.exists()
        assert first.path != second.path
        assert sweep(first.path.parent) == []
    finally:
        first.remove()
        second.remove()


def test_small_shared_memory_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sabot_sql.agents.block_root.SHARED_MEMORY_FREE_BYTES", 1 << 62)
    root = BlockRoot(tmp_path)
    assert [path.parent for path in root.paths] == [tmp_path / "blocks"]
    root.remove()
    assert list(tmp_path.iterdir()) == []
