"""How fast stages hand rows to each other, in bytes a second of each lane, by the size of the batches.

    python bench/exchange.py [--megabytes 256] [--repeats 7] [--columns 4] [--json OUT]

`write` is a task's block going to shared memory; `spill` the same to disk, `move` to disk after half of it lay in shared
memory. `map` reads a block of this machine (every page is touched), `flight` streams it from a process of its own over the
loopback interface. `bare write` is write(2) of the same buffers to shared memory and nothing else, `copy` is memory to
memory: what the machine gives. Every block that is read is compared by its rows; page faults are part of the times.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.machine import machine_line, quantile
from sabot_sql.agents.agent import Agent, AgentConfig
from sabot_sql.agents.block_budget import BlockBudget, Place
from sabot_sql.agents.block_root import BlockRoot
from sabot_sql.agents.blocks import FileBlockWriter, LocalBlockReader
from sabot_sql.agents.flight import AgentServer, FlightBlockReader
from sabot_sql.executor.exchange import BlockFile, BlockReader

SIZES = (64 << 10, 256 << 10, 1 << 20, 2 << 20, 4 << 20, 16 << 20)
TOKEN = "bench"
PAGE_BYTES = 4096


class Lanes:
    """Writes and reads one block of `num_batches` times `batch`, lane by lane."""

    def __init__(self, root: BlockRoot, uri: str, batch: pa.RecordBatch, num_batches: int) -> None:
        self.root = root
        self.uri = uri
        self.batch = batch
        self.num_batches = num_batches
        self.num_bytes = batch.nbytes * num_batches
        self.flight = FlightBlockReader(TOKEN)
        memory, disk = root.places[0], root.places[-1]
        half = Place(memory.root, self.num_bytes * 4 // 7)
        self.budgets = {"write": BlockBudget((memory, disk)), "spill": BlockBudget((disk,)), "move": BlockBudget((half, disk))}

    def write(self, name: str) -> BlockFile:
        writer = FileBlockWriter(self.root.path, "bench", 0, 0, 1, "agent", self.uri, self.budgets[name])
        for _ in range(self.num_batches):
            writer.write(0, self.batch)
        return writer.finish()

    def write_bare(self) -> None:
        path = self.root.path / "bench" / "bare"
        buffers = [column.buffers()[1] for column in self.batch.columns]
        file = os.open(path, os.O_CREAT | os.O_WRONLY)
        for _ in range(self.num_batches):
            os.writev(file, buffers)
        os.close(file)
        path.unlink()

    def measure(self, repeats: int) -> dict[str, list[float]]:
        """Seconds of each run of each lane; the lanes take turns."""
        found: dict[str, list[float]] = {}

        def timed(name: str, act: Callable[[], Any]) -> Any:
            begin = time.perf_counter()
            result = act()
            found.setdefault(name, []).append(time.perf_counter() - begin)
            return result

        source, target = (np.zeros(self.num_bytes, np.uint8) for _ in range(2))
        target[:] = source = source + 1
        for _ in range(repeats):
            timed("copy", lambda: np.copyto(target, source))
            timed("bare write", self.write_bare)
            for name in ("spill", "move", "write"):
                block: BlockFile = timed(name, functools.partial(self.write, name))
                assert block.rows == self.batch.num_rows * self.num_batches
                assert (Path(block.path).parent.parent == self.root.path) == (name == "write")
                if name != "write":
                    Path(block.path).unlink()
            for name, reader in (("map", LocalBlockReader()), ("flight", self.flight)):
                assert timed(name, functools.partial(touch_all, reader, block)) == block.rows
            Path(block.path).unlink()
        return found


def touch_all(reader: BlockReader, block: BlockFile) -> int:
    """The rows of a block, after a look at each of their pages."""
    rows = seen = 0
    for batch in reader.read(block, 0):
        rows += batch.num_rows
        for column in batch.columns:
            seen += int(np.frombuffer(column.buffers()[1], np.uint8)[::PAGE_BYTES].sum())
    assert seen > 0
    return rows


def serve(root: str, answers: Any) -> None:
    """Be the agent that the blocks are streamed from."""
    server = AgentServer(Agent("agent", AgentConfig(TOKEN, (Place(root),)), LocalBlockReader()))
    answers.put(f"grpc://127.0.0.1:{server.port}")
    server.serve()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--json", default="")
    args = parser.parse_args()
    print(machine_line())
    report: dict[str, Any] = {"machine": machine_line(), "gigabytes_per_second": {}}
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        root = BlockRoot(Path(folder))
        root.open_job("bench")
        answers = spawn.Queue()
        server = spawn.Process(target=serve, args=(str(root.path), answers), daemon=True)
        server.start()
        try:
            uri = answers.get()
            print(f"{args.megabytes} MiB a run, {args.columns} columns of DOUBLE, GB/s: median (best) of {args.repeats}")
            for size in SIZES:
                batch = pa.record_batch({f"c{i}": np.random.rand(size // 8 // args.columns) for i in range(args.columns)})
                lanes = Lanes(root, uri, batch, max(1, (args.megabytes << 20) // batch.nbytes))
                rates = {n: [lanes.num_bytes / 1e9 / s for s in times] for n, times in lanes.measure(args.repeats).items()}
                shown = "  ".join(f"{n} {quantile(r, 0.5):5.2f} ({max(r):5.2f})" for n, r in rates.items())
                print(f"{size >> 10:6} KiB  {shown}", flush=True)
                report["gigabytes_per_second"][size] = rates
                lanes.flight.close()
        finally:
            server.kill()
            root.remove()
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
