"""What the README says to type runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.in_process import sabot
from tests.documents import README, ROOT, commands, curl, server, write_my_folder
from tests.server.live_server import clean_environment

TEXT = README.read_text(encoding="utf-8")


@pytest.fixture
def my_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`my_folder` in the current folder."""
    for name in ("SABOT_URL", "SABOT_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return write_my_folder(tmp_path)


def command(name: str) -> list[str]:
    """The arguments of the one line of the README that calls `sabot-sql name`."""
    (line,) = [c for c in commands(TEXT, "sabot-sql") if shlex.split(c)[1] == name]
    return shlex.split(line)[1:]


def test_python_example_runs(my_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert shown.startswith("local - at most 4 rows ")
    assert "│ JFK     │" in shown
    assert "(2 rows)" in shown
    assert "\nroute     local: estimated 4 rows" in shown


def test_query_example_counts_the_rows(my_folder: Path) -> None:
    arguments = [sys.executable, "-m", "sabot_sql.cli", *command("query")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=90, env=clean_environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, "count_star()\n4\n", "")


def test_serve_example_answers_the_curl_example() -> None:
    assert command("serve") == ["serve", "--data", "my_folder", "--agents", "2"]  # as `server()` was started
    (line,) = commands(TEXT, "curl")
    answer = curl(line).json()
    assert (answer["rows"], answer["route"]) == ([[1]], "local")
    assert server().sql("select count(*) from trips")["rows"] == [[4]]


def test_shell_example_takes_statements_from_a_pipe(my_folder: Path) -> None:
    done = sabot(*command("shell"), stdin="\\?\n\\d\nselect max(fare) as fare\nfrom trips;\n", SABOT_AGENTS__COUNT="0")
    assert (done.returncode, done.err) == (0, "")
    for expected in ("\\explain", "│ trips │ parquet │", "│ 812.5 │"):
        assert expected in done.out


def test_make_has_the_targets_that_are_named() -> None:
    named = [line.split()[1] for line in commands(TEXT, "make")]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert named == ["demo", "test"]
    assert set(named) <= set(targets)
