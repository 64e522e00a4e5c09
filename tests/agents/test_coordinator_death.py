"""A coordinator that is killed takes its agents along and leaves nothing for long."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from sabot_sql.agents.block_root import BlockRoot
from tests.agents.processes import exists, until_gone

# no main guard: were the script run again by an agent, "runs" would have a second line
SCRIPT = """
import json, os, sys, time
open(sys.argv[1], "a").write("ran\\n")
from sabot_sql.agents.pool import AgentPool
from sabot_sql.config import AgentSettings
from tests.agents.stages import SESSION, constant_stage
pool = AgentPool(AgentSettings(count=2))
pool.start(wait=True)
results = pool.run_stage("job", constant_stage(2), {}, SESSION)
pids = [a.pid for a in pool.agents()] + [pool._running.members._provider.pid]
roots = list(map(str, pool._running.root.paths))
print(json.dumps({"pids": pids, "block": results[0].block.path, "roots": roots}), flush=True)
{end}
"""


def start(tmp_path: Path, end: str) -> tuple[subprocess.Popen[str], dict[str, object]]:
    script = tmp_path / "coordinator.py"
    script.write_text(SCRIPT.replace("{end}", end))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((os.getcwd(), os.environ.get("PYTHONPATH", "")))}
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "runs")], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def test_kill_9_of_the_coordinator_leaves_no_process_and_no_block_after_the_next_start(tmp_path: Path) -> None:
    process, told = start(tmp_path, "time.sleep(60)")
    with process:
        assert all(map(exists, told["pids"]))  # type: ignore[arg-type]
        block = Path(str(told["block"]))
        assert block.exists()
        process.send_signal(signal.SIGKILL)
    until_gone(told["pids"])  # type: ignore[arg-type]
    BlockRoot().remove()
    assert not block.parent.parent.exists()
    assert not any(map(os.path.exists, told["roots"]))  # type: ignore[call-overload]
    assert (tmp_path / "runs").read_text() == "ran\n"


def test_a_coordinator_that_ends_without_stopping_its_pool_leaves_nothing(tmp_path: Path) -> None:
    process, told = start(tmp_path, "")
    with process:
        assert process.wait(10) == 0
    until_gone(told["pids"])  # type: ignore[arg-type]
    assert not any(map(os.path.exists, told["roots"]))  # type: ignore[call-overload]


def test_agents_are_in_a_session_of_their_own_so_that_ctrl_c_does_not_reach_them(tmp_path: Path) -> None:
    process, told = start(tmp_path, "time.sleep(60)")
    with process:
        assert os.getsid(process.pid) not in {os.getsid(pid) for pid in told["pids"]}  # type: ignore[attr-defined]
        process.kill()
    until_gone(told["pids"])  # type: ignore[arg-type]
    BlockRoot().remove()
