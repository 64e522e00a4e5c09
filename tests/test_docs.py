"""docs/ names all there is, its links lead somewhere, and its examples run."""

from __future__ import annotations

import doctest
import inspect
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import sabot_sql
from sabot_sql.cli.exits import ExitCode
from sabot_sql.cli.main import cli
from sabot_sql.cli.settings import NOT_SETTINGS, load_settings, setting_names, sources, variable_of
from sabot_sql.config import AgentSettings, Settings
from sabot_sql.engine import calibration
from sabot_sql.errors import PROBLEMS, QueryError
from sabot_sql.jobs.manager import JobManager
from sabot_sql.server.app import create_app
from sabot_sql.server.sql_request import ExplainBody, SqlBody, ValidateBody
from sabot_sql.shell.commands import COMMANDS
from tests.cli.in_process import sabot
from tests.documents import PAGES, ROOT, commands, curl, page, server, write_my_folder

LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|^ {4}.*?$|`[^`]*`", re.DOTALL | re.MULTILINE)
CACHES = frozenset(("__pycache__", "build", "dist"))
MACHINE_PATH = re.compile(r"(?<![\w.})])/(?:work|root|home|Users)/\w|/tmp/\w/")
INDEX = re.compile(r"index-url|trusted-host|\bpypi\.|pythonhosted|artifactory|\bregistry\.", re.IGNORECASE)
HOST = re.compile(r"https?://(?:[^/@\s]*@)?([\w-]+(?:\.[\w-]+)+)")
KNOWN_HOSTS = frozenset(
    ("127.0.0.1", "10.1.2.3", "example.com", "json-schema.org", "arrow.apache.org", "www.apache.org", "www.w3.org")
)  # the last is in the name of SVG's namespace


def leaves(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its whole name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield path + name, command


LEAVES = dict(leaves(cli))


@pytest.fixture(scope="module")
def openapi() -> Iterator[dict[str, Any]]:
    manager = JobManager(Settings(agents=AgentSettings(count=0)), {})
    try:
        yield create_app(manager).openapi()
    finally:
        manager.close()


def missing(names: Any, text: str) -> list[str]:
    """Those of `names` that do not stand in code on the page."""
    words = {word for code in CODE.findall(text) for word in re.findall(r"[\w.\\?!-]+", code)}
    parts = {part for word in words for part in word.split(".")}
    return [name for name in names if name not in words | parts]


def section(text: str, title: str) -> str:
    """The part of a page under a heading."""
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("name", LEAVES)
def test_command_and_its_options_are_in_the_docs(name: str) -> None:
    text = page("command-line.md")
    assert f"`{name}`" in text
    shared, room = text.split("\n## serve\n")[0], name.split()[0]
    own = shared + (section(text, room) if f"\n## {room}\n" in text else "")
    options = [opt for p in LEAVES[name].params if isinstance(p, click.Option) for opt in (*p.opts, *p.secondary_opts)]
    assert missing(options, own) == []


def test_every_command_of_the_shell_is_in_the_docs() -> None:
    assert missing([f"\\{name}" for name in COMMANDS], section(page("command-line.md"), "shell")) == []


def test_every_exit_code_is_in_the_docs() -> None:
    assert re.findall(r"^\| (\d+) \|", page("command-line.md"), re.MULTILINE) == [str(int(code)) for code in ExitCode]


def test_every_setting_is_in_the_docs_with_its_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith("SABOT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    rows = re.findall(r"^\| `([\w.]+)` \| `(SABOT_\w+)` \|[^|]*\|([^|]*)\|", page("configuration.md"), re.MULTILINE)
    described = {name: (variable, default.strip(' `"')) for name, variable, default in rows}
    assert list(described) == list(setting_names())
    for name, value, _ in sources(load_settings({})):
        shown = "the processors" if name == "local.threads" else "not set" if value is None else str(value)
        assert described[name] == (variable_of(name), shown)
    assert missing(NOT_SETTINGS, page("configuration.md")) == []


def test_every_route_and_field_is_in_the_docs(openapi: dict[str, Any]) -> None:
    text = page("http-api.md")
    routes = {f"{method.upper()} {path}" for path, methods in openapi["paths"].items() for method in methods}
    assert set(re.findall(r"`((?:GET|POST|PUT|DELETE) /\S+)`", section(text, "Routes"))) == routes
    parameters = {p["name"] for methods in openapi["paths"].values() for m in methods.values() for p in m.get("parameters", ())}
    body = {f.alias or name for model in (SqlBody, ExplainBody, ValidateBody) for name, f in model.model_fields.items()}
    assert missing(parameters | body, text) == []


def test_every_field_of_an_answer_is_in_the_docs() -> None:
    answer = server().sql("select zone, count(*) as n from trips group by 1", route="distributed", wait_ms=60_000, row_limit=1)
    paths = (
        f"/v1/queries/{answer['query_id']}",
        "/v1/tables/memory/main/trips",
        "/v1/agents",
        "/v1/info",
        "/readyz",
        "/v1/cluster",
    )
    status, table, agents, info, ready, cluster = (server().request("GET", path).json() for path in paths)
    body = {"sql": "select count(*) from trips", "route": "distributed", "analyze": True}
    plan = server().request("POST", "/v1/explain", body).json()
    found = [answer, answer["stats"], answer["columns"][0], status, status["progress"], status["links"], table]
    found += [cluster, *(value for value in cluster.values() if isinstance(value, dict))]
    running = server().request("GET", f"/v1/queries/{answer['query_id']}/plan").json()
    found += [running, running["stages"][0], running["stages"][0]["tasks"], *running["edges"]]
    found += [table["columns"][0], agents["agents"][0], info, ready, ready["checks"], plan, plan["estimate"], plan["stages"][0]]
    assert missing({key for fields in found for key in fields}, page("http-api.md")) == []


def test_every_metric_is_in_the_docs() -> None:
    lines = server().request("GET", "/metrics").data.decode().splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    assert missing(names, section(page("http-api.md"), "Metrics")) == []


def test_every_error_code_is_in_the_docs_as_it_is() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\w{5}) \| (\d{3}) \|", page("errors.md"), re.MULTILINE)
    assert sorted(rows) == sorted((p.code, p.sqlstate, str(p.status)) for p in PROBLEMS.values())
    assert missing(QueryError("x").to_problem(), page("errors.md")) == []


def test_every_public_name_is_in_the_docs() -> None:
    everything = "\n".join(text.read_text(encoding="utf-8") for text in PAGES)
    assert missing([n for n in sabot_sql.__all__ if n != "__version__"], everything) == []
    for kind in (sabot_sql.Connection, sabot_sql.Result, sabot_sql.Job):
        assert missing([name for name in vars(kind) if not name.startswith("_")], page("python.md")) == []
    calls = (sabot_sql.connect, sabot_sql.Connection.execute_sql)
    arguments = {name for call in calls for name in inspect.signature(call).parameters} - {"self", "sql"}
    assert missing(sorted(arguments), page("python.md")) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file) if file else path
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def repository_files() -> Iterator[Path]:
    """Every file that is no cache, environment or made data."""
    for folder, inner, files in os.walk(ROOT):
        inner[:] = [n for n in inner if n not in CACHES and (not n.startswith(".") or n == ".ci")]
        yield from (Path(folder) / name for name in files if name != ".git")  # a file in a work tree of its own


def test_no_file_names_a_machine_path_or_a_package_index() -> None:
    found = []
    for path in repository_files():
        if path == Path(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        bad = [m[0] for pattern in (MACHINE_PATH, INDEX) for m in pattern.finditer(text)]
        bad += [host for host in HOST.findall(text) if host not in KNOWN_HOSTS]
        found += [f"{path.relative_to(ROOT)}: {what}" for what in bad]
    assert found == []


@pytest.mark.parametrize(("name", "least"), [("python.md", 20), ("routing.md", 15), ("first-hour.md", 60)])
def test_python_examples_run(name: str, least: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [n for n in os.environ if n.startswith("SABOT_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(calibration, "_measured", {})  # as in a new process: other tests' queries may have said much
    done = doctest.testfile(str(ROOT / "docs" / name), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert done.attempted > least
    assert done.failed == 0


@pytest.mark.parametrize("command", commands(page("http-api.md"), "curl"))
def test_curl_example_runs(command: str) -> None:
    answer = curl(command)
    assert answer.status in (200, 201, 204), answer.data


NOT_RUN = (" serve ", " agent ", " [")
EXAMPLES = [c for c in commands(page("command-line.md"), "sabot-sql") if not any(part in c for part in NOT_RUN)]


@pytest.mark.parametrize("command", EXAMPLES)
def test_command_line_example_runs(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_my_folder(tmp_path)
    (tmp_path / "report.sql").write_text("select zone, sum(fare) as fare from trips group by 1 order by 1;\n")
    monkeypatch.chdir(tmp_path)
    stdin = ""
    if piped := re.match(r'echo "(.*?)" \| (.*)', command):
        stdin, command = piped.groups()
    if "QUERY_ID" in command:
        command = command.replace("QUERY_ID", server().sql("select 1 as one")["query_id"])
    if "8600" in command:
        command = command.replace("http://127.0.0.1:8600", server().url)
    if "my_state" in command:
        sabot("query", "-c", "select zone from trips", "--data", "my_folder", SABOT_STATE_DIR="my_state")
    agents = "1" if "distributed" in command else "0"
    done = sabot(*shlex.split(command)[1:], stdin=stdin, SABOT_AGENTS__COUNT=agents)
    assert (done.returncode, "error" in done.err) == (0, False), done.err
