"""`sabot-sql serve`: the HTTP server."""

from __future__ import annotations

import os
import threading

import click

from sabot_sql.cli.logs import set_up_logs
from sabot_sql.cli.target import ThresholdType
from sabot_sql.errors import ConfigError

CLOSE_S = 13.0  # after the 5 s in which answers on their way are finished; 18 s in all


@click.command()
@click.option("--data", metavar="PATH", help="Folder of tables, or DuckDB file.")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 for a free one.  [default: 8600]")
@click.option("--agents", "num_agents", type=click.IntRange(0), help="Agents to start.  [default: 2]")
@click.option(
    "--provider",
    type=click.Choice(["local", "static", "ray"]),
    help="Where agents come from: started here, or registered (`sabot-sql agent`).  [default: local]",
)
@click.option("--agents-listen", metavar="HOST:PORT", help="Where agents register.  [default: 127.0.0.1:8615]")
@click.option("--token-file", type=click.Path(dir_okay=False), help="File with the secret that server and agents share.")
@click.option("--state-dir", type=click.Path(file_okay=False), help="Folder that keeps jobs and results over restarts.")
@click.option("--writable", is_flag=True, default=None, help="Let statements write tables, with keys of the role writer.")
@click.option("--threshold", type=ThresholdType(), help="Rows from which a query is distributed, or auto.  [default: auto]")
@click.option("--engine", type=click.Choice(["duckdb", "datafusion"]), help="Engine of the local route.  [default: duckdb]")
@click.option("--api-keys-file", type=click.Path(), help="File of the keys that open the server (`sabot-sql key`).")
@click.option("--tls-cert", type=click.Path(), help="Certificate of the server, a PEM file; it then speaks HTTPS only.")
@click.option("--tls-key", type=click.Path(), help="Private key that belongs to it.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="warning", show_default=True)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def serve(
    data: str | None,
    host: str | None,
    port: int | None,
    num_agents: int | None,
    provider: str | None,
    agents_listen: str | None,
    token_file: str | None,
    state_dir: str | None,
    writable: bool | None,
    threshold: int | str | None,
    engine: str | None,
    api_keys_file: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    log_level: str,
    log_format: str,
) -> None:
    """Answer queries over HTTP until told to stop (Ctrl-C, SIGTERM).

    Without an API key ($SABOT_API_KEY, an admin's, or --api-keys-file) the server listens on this machine only.
    """
    try:
        from sabot_sql.cli.settings import load_settings
        from sabot_sql.server.serve import serve as run_server
    except ModuleNotFoundError as exc:
        raise ConfigError(f"the server needs {exc.name}", hint="pip install 'sabot-sql[server]'") from exc

    flags = {
        "data": data,
        "state_dir": state_dir,
        "tables.writable": writable,
        "threshold": threshold,
        "local.engine": engine,
        "agents.count": num_agents,
        "agents.provider": provider,
        "agents.listen": agents_listen,
        "agents.token_file": token_file,
        "server.host": host,
        "server.port": port,
        "server.api_keys_file": api_keys_file,
        "server.tls_cert": tls_cert,
        "server.tls_key": tls_key,
    }
    settings = load_settings(flags)
    set_up_logs(log_level, log_format)
    section = settings.server
    access, tls = settings.access(), settings.tls()
    run_server(settings.to_settings(), settings.data, section.host, section.port, access, tls, announce, end_in_any_case)


def announce(address: str) -> None:
    """Tells people, and scripts that wait for it, where the server is."""
    click.echo(f"sabot-sql listens on {address} (docs: {address}/docs)", err=True)


def end_in_any_case() -> None:
    """An engine that does not close (a query deaf to its interrupt) does not keep the process."""
    timer = threading.Timer(CLOSE_S, os._exit, (1,))
    timer.daemon = True
    timer.start()
