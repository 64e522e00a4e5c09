from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import urllib3

from tests.server.live_server import clean_environment

KEY, READER = "operator-" + "k" * 16, "reader-" + "k" * 16


def logged(data: Path, tmp_path: Path, *options: str, path: str = "/v1/tables", **environment: str) -> list[str]:
    """What a server writes while it is asked a few things."""
    keys = tmp_path / "keys"
    keys.write_text(f"ada:{READER}\n")
    command = [sys.executable, "-m", "sabot_sql.cli", "serve", "--port", "0", "--agents", "0", "--data", str(data), *options]
    env = clean_environment(SABOT_API_KEY=KEY, SABOT_SERVER__API_KEYS_FILE=str(keys), **environment)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as process:
        assert process.stderr is not None
        url = next(line for line in process.stderr if "listens on" in line).split("listens on ")[1].split()[0]
        with urllib3.PoolManager() as http:

            def ask(method: str, path: str, key: str, body: str = "") -> None:
                headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", "X-Forwarded-For": "1.2.3.4"}
                http.request(method, url + path, body=body or None, headers=headers, retries=False)

            good = {"sql": "SELECT\n  $secret AS s", "params": {"secret": "hidden"}, "tags": {"t": "x"}}
            ask("POST", "/v1/sql", READER, json.dumps(good))
            ask("POST", "/v1/sql", READER, '{"sql": "SELECT nothing FROM people"}')
            ask("GET", path, "wrong")
            ask("PUT", "/v1/cluster/agents", READER, '{"desired": 3}')
            ask("DELETE", "/v1/agents/none", KEY)
            csv = {"Authorization": f"Bearer {KEY}", "Content-Type": "text/csv"}
            http.request("PUT", f"{url}/v1/tables/memory/main/fees/data", body="fee\n5\n", headers=csv, retries=False)
            ask("DELETE", "/v1/tables/memory/main/fees", KEY)
        process.terminate()
        return process.stderr.read().splitlines()


def test_queries_refusals_and_changes_of_agents_are_lines_of_json(data: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in logged(data, tmp_path, "--log-level", "info", "--log-format", "json")]
    assert all({"ts", "level", "logger", "event"} <= line.keys() for line in lines)
    good, bad = (line for line in lines if line["logger"] == "sabot_sql.queries")
    assert (good["level"], good["user"], good["state"], good["route"]) == ("info", "ada", "finished", "local")
    assert (good["code"], good["tags"], good["sql"]) == (None, {"t": "x"}, "SELECT\n  $secret AS s")
    assert good["elapsed_ms"] > 0
    assert good["query_id"] in good["event"]
    assert (bad["state"], bad["code"]) == ("failed", "UNDEFINED_COLUMN")
    refused = [line for line in lines if line["event"].startswith("refused")]
    assert {line["client"] for line in refused} == {"127.0.0.1"}
    assert [(line["status"], line["user"]) for line in refused] == [(401, None), (403, "ada")]
    changes = [(line["table"], line["change"], line["user"]) for line in lines if "change" in line]
    assert changes == [("fees", "create", "api"), ("fees", "drop", "api")]
    assert not any("ends agent" in line["event"] for line in lines)  # there is none of that name
    assert not any("hidden" in json.dumps(line) or READER in json.dumps(line) for line in lines)


def test_what_is_sent_does_not_begin_a_line(data: Path, tmp_path: Path) -> None:
    lines = logged(data, tmp_path, "--log-level", "info", path="/v1/%0a2026%20INFO%20forged%1b[31m")
    assert not any(line.startswith("2026 INFO") or "\x1b" in line for line in lines)
    (line,) = (line for line in lines if "forged" in line)
    assert "refused GET /v1/\\n2026 INFO forged\\x1b[31m of None at 127.0.0.1 with 401" in line


def test_slow_queries_are_warnings_and_text_is_the_default(data: Path, tmp_path: Path) -> None:
    lines = logged(data, tmp_path, SABOT_SERVER__SLOW_QUERY_S="0.000001")
    slow = [line for line in lines if "slow query" in line]
    assert len(slow) == 2
    assert all("WARNING sabot_sql.queries: slow query q_" in line for line in slow)
    assert not any("refused" in line for line in lines)


def test_who_has_set_up_no_logging_is_told_nothing() -> None:
    script = (
        "from sabot_sql.config import Settings\n"
        "from sabot_sql.engine.request import QueryRequest\n"
        "from sabot_sql.jobs.manager import JobManager\n"
        "manager = JobManager(Settings(slow_query_s=0.0))\n"
        "print(manager.execute(QueryRequest('select 1 as one')).table.to_pylist())\n"
        "manager.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[{'one': 1}]\n", "")
