"""`sabot-sql demo`: real queries over TPC-H data through a real server, each answer compared with DuckDB's."""

from __future__ import annotations

import contextlib
import importlib.resources
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from sabot_sql.client.difference import difference
from sabot_sql.errors import ConfigError, SabotError

if TYPE_CHECKING:
    import pyarrow as pa

LOCAL_QUERIES: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("one order", "select * from orders where o_orderkey = 7", ()),
    ("one customer's name", "select c_name, c_acctbal from customer where c_custkey = 42", ()),
    ("nations of a region",
     "select n_name from nation, region where n_regionkey = r_regionkey and r_name = 'ASIA' order by 1", (0,)),
    ("suppliers a nation", "select s_nationkey, count(*) n, avg(s_acctbal) a from supplier group by 1 order by 1", (0,)),
)  # fmt: skip

# Output columns by which each TPC-H query orders its answer.
TPCH_ORDER: dict[str, tuple[int, ...]] = {
    "01": (0, 1), "03": (1, 2), "05": (1,), "06": (), "10": (2,), "12": (0,), "14": (), "18": (4, 3), "19": (),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """One line of the demo's table."""

    name: str
    route: str
    reason: str
    rows: int
    ms: float
    duckdb_ms: float
    verdict: str


def run(scale_factor: float, agents: int, port: int, data_dir: Path | None = None) -> int:
    """Make the data, start a server with `agents` agents, run the queries, stop everything.

    Returns:
        0 when every answer is DuckDB's, 1 otherwise.
    """
    import duckdb  # noqa: F401  before there is a server: Ctrl-C while compiled modules are loaded may abort the process

    console = Console(stderr=False)
    data = make_data((data_dir or Path(".data") / "demo"), scale_factor, console)
    with _server(data, agents, port, console) as url:
        outcomes = _run_all(url, data, console)
    wrong = [o for o in outcomes if o.verdict != "same"]
    if wrong:
        console.print(f"[red]{len(wrong)} of {len(outcomes)} answers differ from DuckDB's[/red]")
        for o in wrong:
            console.print(f"  {o.name}: {o.verdict}")
        return 1
    console.print(f"All {len(outcomes)} answers are DuckDB's. The server and its agents are stopped. To go on by yourself:")
    console.print(f"  .venv/bin/sabot-sql shell {data}", highlight=False)
    return 0


def make_data(folder: Path, scale_factor: float, console: Console) -> Path:
    """TPC-H tables of `scale_factor` as folders of Parquet files under `folder`, made once."""
    target = folder / f"tpch-sf{scale_factor:g}"
    if target.is_dir():
        return target
    command = shutil.which("tpchgen-cli", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    if command is None:
        raise ConfigError("tpchgen-cli, which makes the demo's data, is not installed", hint="pip install 'sabot-sql[dev]'")
    console.print(f"Making TPC-H data, scale factor {scale_factor:g} ...")
    making = folder / f".making-{os.getpid()}"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    parts = max(2, round(scale_factor * 4))
    try:
        subprocess.run(
            [
                command,
                "parquet",
                "-s",
                f"{scale_factor:g}",
                "--row-group-bytes=16MB",
                f"--parts={parts}",
                f"--output-dir={making}",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        making.rename(target)
    except subprocess.CalledProcessError as error:
        raise ConfigError(f"tpchgen-cli failed: {error.stderr.strip()}") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


@contextlib.contextmanager
def _server(data: Path, agents: int, port: int, console: Console) -> Iterator[str]:
    """A `sabot-sql serve` of our own over `data`; stopped, whatever happens."""
    console.print(f"Starting a server with {agents} agents ...")
    command = [
        sys.executable,
        "-m",
        "sabot_sql.cli.main",
        "serve",
        "--data",
        str(data),
        "--port",
        str(port),
        "--agents",
        str(agents),
    ]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _await_agents(url, agents, process)
        console.print(f"Ready at {url} in {time.perf_counter() - begun:.1f} s, {agents} agents.")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(25)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_agents(url: str, agents: int, process: subprocess.Popen[bytes], limit_s: float = 120.0) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ConfigError(f"the server ended with exit code {process.returncode} before it was ready; its message is above")
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(f"{url}/v1/agents", timeout=5) as answer:
                found = json.load(answer)["agents"]
            if sum(a["state"] == "alive" for a in found) >= agents:
                return
        time.sleep(0.05)
    raise ConfigError(f"the server at {url} was not ready within {limit_s:g} s")


def _run_all(url: str, data: Path, console: Console) -> list[Outcome]:
    import duckdb

    import sabot_sql

    oracle = duckdb.connect()
    for folder in sorted(p for p in data.iterdir() if p.is_dir()):
        oracle.execute(f"""CREATE VIEW "{folder.name}" AS SELECT * FROM '{folder}/*.parquet'""")
    outcomes: list[Outcome] = []
    with sabot_sql.connect(url) as db, Live(_table(outcomes), console=console, auto_refresh=False) as live:
        for name, sql, order in LOCAL_QUERIES:
            outcomes.append(_compare(oracle, name, sql, order, lambda s: _over_http(url, s)))
            live.update(_table(outcomes), refresh=True)
        for number, order in TPCH_ORDER.items():
            sql = (importlib.resources.files("sabot_sql.cli") / "demo_queries" / f"tpch_{number}.sql").read_text()
            outcomes.append(_compare(oracle, f"TPC-H {int(number)}", sql, order, lambda s: _over_client(db, s)))
            live.update(_table(outcomes), refresh=True)
    return outcomes


def _compare(oracle: Any, name: str, sql: str, order: tuple[int, ...], ask: Any) -> Outcome:
    begun = time.perf_counter()
    want = oracle.sql(sql).to_arrow_table()
    duckdb_ms = (time.perf_counter() - begun) * 1000
    begun = time.perf_counter()
    try:
        got, route, reason = ask(sql)
    except SabotError as error:
        return Outcome(name, "", "", 0, (time.perf_counter() - begun) * 1000, duckdb_ms, f"{type(error).__name__}: {error}")
    ms = (time.perf_counter() - begun) * 1000
    return Outcome(name, route, reason, got.num_rows, ms, duckdb_ms, difference(want, got, order) or "same")


def _over_http(url: str, sql: str) -> tuple[pa.Table, str, str]:
    """Through `POST /v1/sql` itself, as any HTTP client would ask for Arrow."""
    import pyarrow as pa

    body = json.dumps({"sql": sql}).encode()
    headers = {"Content-Type": "application/json", "Accept": "application/vnd.apache.arrow.stream"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/sql", body, headers), timeout=60) as answer:
        table = pa.ipc.open_stream(answer.read()).read_all()
        route = answer.headers["X-Sabot-Route"]
    meta = json.loads((table.schema.metadata or {}).get(b"sabot.query", b"{}"))
    return table.replace_schema_metadata(None), route, meta.get("reason", "")


def _over_client(db: Any, sql: str) -> tuple[pa.Table, str, str]:
    """Through the Python client, forced over the agents."""
    result = db.execute_sql(sql, route="distributed", timeout_s=120)
    return result.to_arrow(), result.route, result.reason


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="sabot-sql demo: HTTP for the small ones, the Python client for TPC-H", title_justify="left")
    for title, justify in (("query", "left"), ("route", "left"), ("reason", "left"), ("rows", "right"), ("ms", "right"),
                           ("DuckDB ms", "right"), ("same answer", "left")):  # fmt: skip
        table.add_column(title, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for o in outcomes:
        verdict = "[green]yes[/green]" if o.verdict == "same" else "[red]NO[/red]"
        table.add_row(o.name, o.route, o.reason, f"{o.rows:,}", f"{o.ms:.1f}", f"{o.duckdb_ms:.1f}", verdict)
    return table
