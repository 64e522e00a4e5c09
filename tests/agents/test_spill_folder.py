"""What operators spill lies in a folder of the coordinator's, and goes with the job, the agent or the next start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sabot_sql.agents.agent import AgentConfig, spill_area
from sabot_sql.agents.block_root import BlockRoot
from sabot_sql.config import AgentSettings
from sabot_sql.errors import ServiceError


def left_by(root: BlockRoot, agent: str, job: str = "job") -> Path:
    """A file that an agent has spilled."""
    folder = root.spill / agent / job
    folder.mkdir(parents=True)
    (folder / "0.arrows").write_bytes(b"rows")
    return folder


def test_the_folder_lies_where_it_is_asked_for_and_goes_with_the_pool(tmp_path: Path) -> None:
    root = BlockRoot(tmp_path / "state", AgentSettings(spill_dir=str(tmp_path / "fast" / "spill"), spill_bytes=12345))
    assert (root.spill.parent, root.spill_bytes) == (tmp_path / "fast" / "spill", 12345)
    left_by(root, "agent-0")
    root.remove()
    assert list((tmp_path / "fast" / "spill").iterdir()) == []


def test_without_a_setting_it_lies_beside_the_blocks_on_disk(tmp_path: Path) -> None:
    root = BlockRoot(tmp_path / "state")
    assert root.spill.parent == tmp_path / "state" / "blocks"
    assert root.spill not in root.paths
    root.remove()
    assert not (tmp_path / "state" / "blocks").exists()


def test_a_folder_that_cannot_be_made_is_told_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServiceError, match=r"agents\.spill_dir"):
        BlockRoot(tmp_path / "state", AgentSettings(spill_dir=str(tmp_path / "file" / "spill")))


def test_the_end_of_a_job_removes_what_all_agents_spilled_for_it(tmp_path: Path) -> None:
    root = BlockRoot(tmp_path)
    gone, stays = [left_by(root, f"agent-{i}") for i in range(2)], left_by(root, "agent-0", "other")
    root.drop_job("job")
    assert [path.exists() for path in (*gone, stays)] == [False, False, True]
    root.remove()


def test_an_agent_removes_what_its_predecessor_left_and_nothing_else(tmp_path: Path) -> None:
    root = BlockRoot(tmp_path)
    mine, others = left_by(root, "agent-0"), left_by(root, "agent-1")
    area = spill_area(AgentConfig("token", root.places, spill_root=str(root.spill), spill_bytes=1000), "agent-0")
    assert area is not None
    assert (area.root, area.limit_bytes, mine.exists(), others.exists()) == (root.spill / "agent-0", 500, False, True)
    root.remove()


def test_what_a_dead_coordinator_left_is_swept_by_the_next_that_spills_there(tmp_path: Path) -> None:
    script = "import os, sys, pathlib; from sabot_sql.agents.block_root import BlockRoot; "
    script += "from sabot_sql.config import AgentSettings; "
    script += "root = BlockRoot(pathlib.Path(sys.argv[1]), AgentSettings(spill_dir=sys.argv[2])); "
    script += "(root.spill / 'agent-0').mkdir(); print(root.spill, flush=True); os._exit(0)"
    spill = str(tmp_path / "spill")
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a"), spill], stdout=subprocess.PIPE, text=True, check=True
    )
    left = Path(done.stdout.strip())
    assert (left / "agent-0").is_dir()
    BlockRoot(tmp_path / "b", AgentSettings(spill_dir=spill)).remove()
    assert not left.exists()
