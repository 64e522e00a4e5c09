from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from sabot_sql.cli.doctor import room
from tests.cli.in_process import sabot


def marks(out: str) -> dict[str, str]:
    """What was found, by what was looked at."""
    return {line[6:22].strip(): line[:4].strip() for line in out.splitlines()}


def test_a_good_installation_is_well(data: Path) -> None:
    done = sabot("doctor", "--data", data, SABOT_AGENTS__COUNT="1")
    found = marks(done.out)
    assert (done.returncode, "all is well" in done.err) == (0, True), done.out
    assert {"sabot-sql", "packages", "memory", "shared memory", "open files", "settings", "kernel cache"} <= found.keys()
    assert [found[name] for name in ("data", "local route", "agents")] == ["ok"] * 3
    assert "2 tables" in done.out
    assert "agents.count" in done.out


def test_what_is_wrong_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "broken.parquet").write_bytes(b"PAR1 nothing")
    (tmp_path / "file").write_text("")
    done = sabot(
        "doctor", "--data", tmp_path / "data", SABOT_AGENTS__COUNT="0", SABOT_STATE_DIR=str(tmp_path / "file" / "state"),
        SABOT_DURABLE__URL="postgresql://nobody:secret-word@127.0.0.1:1/none",
    )  # fmt: skip
    found = marks(done.out)
    assert done.returncode == 1
    assert (found["data"], found["state folder"], found["job database"], found["agents"]) == ("bad", "bad", "bad", "note")
    assert "broken" in done.out
    assert "secret-word" not in done.out + done.err


def test_settings_that_are_none_end_it(data: Path) -> None:
    done = sabot("doctor", "--data", data, SABOT_AGENTS__COUNT="many")
    assert (done.returncode, marks(done.out)["settings"]) == (1, "bad")
    nowhere = sabot("doctor", "--data", data / "nowhere", SABOT_AGENTS__COUNT="0")
    assert (nowhere.returncode, marks(nowhere.out)["data"]) == (1, "bad")


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """With the rights of a user who may write next to nowhere; root has them for a while."""
    if os.getuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_of_somebody_else_is_bad() -> None:
    with as_nobody():
        assert room(Path("/usr/state")) == ("bad", "/usr cannot be written to by this user")
        assert room(Path("/usr"))[0] == "bad"
