"""What newcomers ran into: each message says what to do, and docs/first-hour.md runs."""

from __future__ import annotations

import contextlib
import doctest
import re
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sabot_sql
from tests.cli.in_process import sabot
from tests.documents import commands, page, write_my_folder

PAGE = page("first-hour.md")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data that the page makes in its first example."""
    folder = tmp_path_factory.mktemp("shop")
    example = doctest.DocTestParser().get_doctest(PAGE.split("```python")[1].split("```")[0], {}, "data", None, 0)
    source = "".join(line.source for line in example.examples if "sabot_sql" not in line.source)
    with contextlib.chdir(folder):
        exec(compile(source, "first-hour.md", "exec"), {})
    return folder


@pytest.mark.parametrize("command", commands(PAGE, "sabot-sql"))
def test_example_of_the_page_runs(command: str, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop)
    done = sabot(*shlex.split(command)[1:], SABOT_AGENTS__COUNT="1" if "distributed" in command else "0")
    assert (done.returncode, "error" in done.err) == (0, False), done.err


def test_the_page_has_thirty_tasks_each_with_an_example() -> None:
    tasks = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    assert [int(task.split(".")[0]) for task in tasks] == list(range(1, 31))
    assert [task for task in tasks if "```python" not in task] == []


@pytest.fixture
def my_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_my_folder(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["select 1"], 2, "sabot-sql query -c SQL"),
        (["query", "select 1"], 2, "A statement follows -c"),
        (["query", "my_folder", "-c", "select 1"], 2, "its data --data"),
        (["explain", "select 1"], 2, "A statement follows -c"),
        (["query", "-c", "select * from trips"], 1, "--data on the command line"),
        (["query", "--data", "my_folder", "-c", "from buildings"], 1, "tables there are: trips"),
        (["query", "--data", "my_folder", "-c", "from 'my_folder/trips/part-0.parquet'"], 1, "--data on the command line"),
        (["query", "--data", "my_folder", "-c", "copy trips to 'x.parquet'"], 1, "--format parquet -o FILE"),
        (["query", "--data", "my_folder", "-f", "none.sql"], 2, "none.sql cannot be read: No such file or directory\n"),
        (["shell", "my_folder", "-f", "none.sql"], 2, "none.sql cannot be read: No such file or directory\n"),
        (["shell", "my_folder", "-c", "\\d fare"], 1, "a column fare is in: trips"),
        (["query", "--data", "my_folder", "-c", "from trips where zone = :zone"], 1, "a parameter is written $name"),
    ],
)
def test_a_mistake_is_told_what_was_meant(my_folder: Path, arguments: list[str], code: int, said: str) -> None:
    done = sabot(*arguments, SABOT_AGENTS__COUNT="0")
    assert done.returncode == code
    assert said in done.err


def test_a_file_named_as_another_format_is_noted(my_folder: Path) -> None:
    query = ("query", "--data", "my_folder", "-c", "from trips", "-o", "trips.parquet")
    done = sabot(*query, SABOT_AGENTS__COUNT="0")
    assert done.err == "note: trips.parquet gets csv; --format parquet writes parquet\n"
    done = sabot(*query, "--format", "parquet", SABOT_AGENTS__COUNT="0")
    assert done.err == ""
    assert pq.read_table("trips.parquet").num_rows == 4


def test_names_of_other_libraries_lead_to_ours() -> None:
    with sabot_sql.connect(data={"t": pa.table({"a": [1]})}, num_local_agents=0) as db:
        result = db.execute_sql("select a from t")
        for owner, name, ours in (
            (db, "execute", "execute_sql"),
            (db, "cursor", "sabot_sql.dbapi"),
            (result, "df", "to_pandas"),
            (result, "fetchall", "to_pylist"),
            (result, "to_parquet", "write_table"),
        ):
            with pytest.raises(AttributeError, match=f"no attribute '{name}'; use .*{ours}"):
                getattr(owner, name)
        with pytest.raises(AttributeError, match="no attribute 'nothing'$"):
            _ = result.nothing


def test_a_folder_in_place_of_an_address_is_told_its_argument() -> None:
    with pytest.raises(sabot_sql.SabotError, match='connect\\(data="my_folder"\\)'):
        sabot_sql.connect("my_folder")
