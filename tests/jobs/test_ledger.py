from __future__ import annotations

import json

import pytest

from sabot_sql.agents.blocks import host_name
from sabot_sql.errors import AgentLost
from sabot_sql.executor.exchange import BlockFile, PartitionBlock
from sabot_sql.executor.task import TaskResult
from sabot_sql.jobs.ledger import OUTPUT_BYTES, Ledger, encode_results


def result(path: str = "", index: int = 0, partitions: int = 1, stats: int = 1) -> TaskResult:
    blocks = tuple(PartitionBlock(p, 10 * p, 80, (p, p + 1)) for p in range(partitions))
    block = BlockFile("j", 0, index, 1, "a1", host_name(), "grpc://x", path, blocks)
    counters = {"node": 0, "name": "scan lineitem", "engine": "duckdb", "rows_in": 1, "rows_out": 1, "elapsed_ns": 123456789}
    return TaskResult(block, tuple({**counters, "node": n} for n in range(stats)), 1 << 20)


def test_next_stage_is_the_first_that_is_not_done() -> None:
    ledger = Ledger((0, 1, 2))
    ledger.fold(encode_results(0, [result()]))
    assert ledger.next() == 1
    ledger.fold(encode_results(1, [result()]))
    ledger.fold({"stage": 1, "lost": [0]})
    assert ledger.next() == 0
    for stage in (0, 2):
        ledger.fold(encode_results(stage, [result()]))
    assert ledger.next() is None


def test_outputs_that_were_recorded_as_one_count_in_their_order() -> None:
    ledger = Ledger((0, 1, 2))
    ledger.fold({"outputs": [encode_results(0, [result()]), encode_results(1, [result()]), {"lost": [0]}]})
    assert (ledger.next(), ledger.done.keys(), ledger.runs) == (0, {1}, {0: 1, 1: 1})


@pytest.mark.parametrize("tasks", [1, 500])
def test_results_survive_the_database(tasks: int) -> None:
    results = [result(f"/tmp/{i}.arrow", i, partitions=8) for i in range(tasks)]
    ledger = Ledger((3,))
    ledger.fold(json.loads(json.dumps(encode_results(3, results))))
    assert ledger.results(3) == results


def test_output_of_many_tasks_stays_small() -> None:
    results = [result(f"/dev/shm/sabot-sql-0-0123456789ab/q_{i:032x}/{i}.arrow", i, 32, 8) for i in range(300)]
    output = encode_results(0, results)
    assert len(json.dumps(output)) < OUTPUT_BYTES
    ledger = Ledger((0,))
    ledger.fold(output)
    assert [r.block for r in ledger.results(0)] == [r.block for r in results]


def test_stage_that_is_lost_again_and_again_ends_the_job() -> None:
    ledger = Ledger((0, 1))
    for _ in range(2):
        ledger.note(0, [result("/nowhere")])
        ledger.fold(ledger.lost((0,), list))
    ledger.note(0, [result("/nowhere")])
    with pytest.raises(AgentLost, match="lost 3 times"):
        ledger.lost((0,), list)
