"""Options and fixtures for all tests."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import settings

from tests.server.live_server import LiveServer, shared_data, shared_server

# how long an example takes says nothing on a machine that others use too
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure() -> None:
    """Signals that whoever started the tests ignores, as nohup and `&` do, are not ignored by what the tests start: a handler,
    unlike SIG_IGN, ends with exec."""
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--goldens", action="store_true", help="rewrite the golden plans")


@pytest.fixture(scope="session")
def tpch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TPC-H at scale factor 0.01: a folder of Parquet files a table, two files for the larger ones."""
    folder = tmp_path_factory.mktemp("tpch")
    command = Path(sys.executable).parent / "tpchgen-cli"
    subprocess.run([command, "parquet", "-s", "0.01", "--parts=2", f"--output-dir={folder}"], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def tpch_oracle(tpch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB over the same files."""
    with duckdb.connect() as con:
        for folder in tpch.iterdir():
            con.execute(f"CREATE VIEW {folder.name} AS SELECT * FROM '{folder}/*.parquet'")
        yield con


@pytest.fixture(scope="session")
def data() -> Path:
    """The tables that all tests may read."""
    return shared_data()


@pytest.fixture(scope="session")
def server() -> LiveServer:
    """A server over them, with two agents, for all tests that do not harm it."""
    return shared_server()
