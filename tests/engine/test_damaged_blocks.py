"""What stages hand to each other is damaged on its way: it is noticed, made again, and the answer is right."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sabot_sql
from sabot_sql.agents.pool import AgentPool
from sabot_sql.executor.exchange import BlockFile

SQL = "select x % 100 k, count(*) n, sum(y) s from t group by k order by k"


def flip_a_byte(block: BlockFile) -> None:
    data = bytearray(Path(block.path).read_bytes())
    begin, end = block.partitions[0].spans[:2]
    data[(begin + end) // 2] ^= 0x10
    Path(block.path).write_bytes(bytes(data))


def cut_short(block: BlockFile) -> None:
    data = Path(block.path).read_bytes()
    Path(block.path).write_bytes(data[:-200])


def delete(block: BlockFile) -> None:
    Path(block.path).unlink()


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sabot_sql.Connection]:
    import duckdb

    folder = tmp_path_factory.mktemp("data") / "t"
    folder.mkdir()
    for i in range(4):
        query = f"select i x, (i * 7919) % 10007 y from range({i * 20_000}, {(i + 1) * 20_000}) r(i)"
        duckdb.sql(query).write_parquet(str(folder / f"{i}.parquet"))
    with sabot_sql.connect(data=folder.parent, num_local_agents=2) as db:
        yield db


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Have blocks of the first stages of the next query damaged; gives the stages that have run since."""

    def begin(damage: Callable[[BlockFile], None], times: int) -> list[int]:
        run_stage: Callable[..., Any] = AgentPool.run_stage
        ran: list[int] = []
        left = [times]

        def damaging(self: AgentPool, job_id: str, stage: Any, *args: Any, **more: Any) -> Any:
            results = run_stage(self, job_id, stage, *args, **more)
            if job_id.startswith("calibration-"):  # the engine's own, which runs when there is time
                return results
            ran.append(stage.stage_id)
            blocks = [r.block for r in results if r.block.partitions]
            if stage.stage_id == 0 and blocks and left[0]:
                left[0] -= 1
                damage(blocks[0])
            return results

        monkeypatch.setattr(AgentPool, "run_stage", damaging)
        return ran

    return begin


@pytest.mark.parametrize("damage", [flip_a_byte, cut_short, delete])
def test_a_damaged_block_is_made_again(
    db: sabot_sql.Connection, damaged: Callable[..., list[int]], damage: Callable[[BlockFile], None]
) -> None:
    expected = db.execute_sql(SQL, route="local").to_pylist()
    ran = damaged(damage, times=1)
    assert db.execute_sql(SQL, route="distributed").to_pylist() == expected
    assert ran.count(0) == 2  # it was real, and that stage ran again


def test_blocks_that_are_damaged_again_and_again_end_the_query(
    db: sabot_sql.Connection, damaged: Callable[..., list[int]]
) -> None:
    damaged(flip_a_byte, times=99)
    with pytest.raises(sabot_sql.AgentLost, match="lost 3 times"):
        db.execute_sql(SQL, route="distributed")


def test_a_query_whose_agents_are_all_killed_goes_on_with_others(
    db: sabot_sql.Connection, damaged: Callable[..., list[int]]
) -> None:
    expected = db.execute_sql(SQL, route="local").to_pylist()
    struck: list[int] = []

    def kill_all(block: BlockFile) -> None:
        struck.extend(agent.pid for agent in db.agents())
        for pid in struck:
            os.kill(pid, signal.SIGKILL)

    damaged(kill_all, times=1)
    assert db.execute_sql(SQL, route="distributed").to_pylist() == expected
    assert len(struck) == 2
    assert not {agent.pid for agent in db.agents()} & set(struck)
