from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sabot_sql.config import Settings
from sabot_sql.errors import ConfigError
from sabot_sql.jobs.folder import close_folder, open_folder
from tests.jobs.hand_engine import HandManager, job

HOLDER = """
import sys
from pathlib import Path
from sabot_sql.jobs.folder import open_folder
open_folder(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_second_process_is_refused_and_told_which_has_the_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"in use by process {holder.pid}"):
            HandManager(Settings(state_dir=tmp_path))
        holder.kill()
    HandManager(Settings(state_dir=tmp_path)).close()


def test_managers_of_one_process_share_a_folder(tmp_path: Path) -> None:
    first, second = HandManager(Settings(state_dir=tmp_path)), HandManager(Settings(state_dir=tmp_path / "." / "x" / ".."))
    query_id = first.submit(job(3)).query_id
    assert second.status(query_id, 5).state == "finished"
    assert second.result(query_id).table.to_pylist() == [{"s": 3}]
    assert [s.query_id for s in second.list()] == [query_id]
    first.close()
    assert second.execute(job(4)).table.to_pylist() == [{"s": 6}]
    second.close()


def test_second_durable_folder_in_a_process_is_refused(tmp_path: Path) -> None:
    first = HandManager(Settings(state_dir=tmp_path / "a"))
    with pytest.raises(ConfigError, match="keeps its jobs in"):
        HandManager(Settings(state_dir=tmp_path / "b"))
    first.close()
    HandManager(Settings(state_dir=tmp_path / "b")).close()


def test_temporary_and_durable_sessions_live_side_by_side(tmp_path: Path) -> None:
    temporary = HandManager(Settings())
    temporary.execute(job(3))
    durable = HandManager(Settings(state_dir=tmp_path))
    kept = durable.submit(job(4)).query_id
    assert temporary.execute(job(5)).table.to_pylist() == [{"s": 10}]
    assert durable.status(kept, 5).state == "finished"
    durable.close()
    assert temporary.execute(job(6)).table.to_pylist() == [{"s": 15}]
    temporary.close()
    again = HandManager(Settings(state_dir=tmp_path))
    assert again.result(kept).table.to_pylist() == [{"s": 6}]
    again.close()


GOES_WITH_THE_LAST = """
from sabot_sql.config import Settings
from tests.jobs.hand_engine import HandManager

first, second = HandManager(Settings()), HandManager(Settings())
path = first._folder.path
assert second._folder.path == path
first.close()
assert path.exists()
second.close()
assert not path.exists()
"""


def test_temporary_folder_goes_with_the_last_manager() -> None:
    root = Path(__file__).parents[2]  # a process of its own: other tests' connections share this one's folder
    done = subprocess.run([sys.executable, "-c", GOES_WITH_THE_LAST], cwd=root, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_temporary_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    code = "import os; from sabot_sql.jobs.folder import *; folder = open_folder(None); {end}"
    root, env = Path(__file__).parents[2], {**os.environ, "TMPDIR": str(tmp_path)}
    for end, left in (("os.kill(os.getpid(), 9)", 1), ("close_folder(folder)", 0)):
        subprocess.run([sys.executable, "-c", code.format(end=end)], cwd=root, env=env, timeout=60)
        assert len(list(tmp_path.glob("sabot-sql-jobs-*"))) == left


def test_temporary_folder_that_nobody_comes_to_close_goes_with_the_process() -> None:
    script = "from sabot_sql.jobs.folder import open_folder; print(open_folder(None).path); raise SystemExit(143)"
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 143
    assert not Path(done.stdout.strip()).exists()


def test_folder_of_a_failed_start_is_free_again(tmp_path: Path) -> None:
    class Broken(HandManager):
        def _make_engine(self, settings, data):
            raise ConfigError("no such data folder")

    with pytest.raises(ConfigError, match="no such data folder"):
        Broken(Settings(state_dir=tmp_path))
    HandManager(Settings(state_dir=tmp_path)).close()


def test_forked_child_does_not_hold_the_lock(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    held, release = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(release)
        os.read(held, 1)
        os._exit(0)
    close_folder(folder)
    close_folder(open_folder(tmp_path))
    os.close(release)
    os.close(held)
    os.waitpid(pid, 0)


def test_file_in_place_of_the_folder_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "sabot.db").touch()
    with pytest.raises(ConfigError, match="is a file"):
        open_folder(tmp_path / "sabot.db")


def test_secret_is_kept_and_private(tmp_path: Path) -> None:
    secrets = []
    for _ in range(2):
        folder = open_folder(tmp_path)
        secrets.append(folder.secret)
        close_folder(folder)
    assert secrets[0] == secrets[1]
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0


def test_dbos_of_the_users_own_is_a_config_error(tmp_path: Path) -> None:
    code = """
from dbos import DBOS
import sys
from pathlib import Path
from sabot_sql.config import Settings
from sabot_sql.errors import ConfigError
from tests.jobs.hand_engine import HandManager, job
DBOS(config={"name": "users-own", "system_database_url": f"sqlite:///{sys.argv[1]}/own.db", "log_level": "ERROR"})
DBOS.launch()
manager = HandManager(Settings())
try:
    manager.execute(job(3))
except ConfigError as error:
    print(error.detail)
manager.close()
print(len(DBOS.list_workflows()))
DBOS.destroy()
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    out = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60)
    assert out.stdout.splitlines() == ["this process has a DBOS of its own, and there can be one only", "0"], out.stderr


def test_database_that_cannot_be_opened_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_bytes(b"this is no database, and never was one" * 100)
    manager = HandManager(Settings(state_dir=tmp_path))
    manager.start()
    with pytest.raises(ConfigError, match=r"jobs\.db cannot be opened"):
        manager.execute(job(3))
    manager._recovered.wait(10)
    assert not manager.ready()["ready"]
    manager.close()
