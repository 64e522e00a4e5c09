"""One of several servers behind a PostgreSQL, as a process that a test talks to: a line of JSON in, one out."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sabot_sql.config import DurableSettings, Settings
from sabot_sql.engine.request import BatchRequest
from sabot_sql.errors import SabotError
from tests.jobs.hand_engine import HandManager, job, query

ROOT = Path(__file__).parents[2]


def settings(folder: Path, name: str, url: str, lease_s: float = 1.0) -> Settings:
    """Of the server `name`; all put results into one folder."""
    return Settings(state_dir=folder / name, durable=DurableSettings(url, folder / "results", lease_s))


class ServerProcess:
    """A server in a process of its own."""

    def __init__(self, folder: Path, name: str, url: str, version: str = "") -> None:
        self.state = folder / name
        command = [sys.executable, "-m", "tests.jobs.server_process", str(folder), name, url, version]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.ask("ready") is True

    def ask(self, what: str, *args: Any, **tags: Any) -> Any:
        """The answer to one request."""
        self.send(what, *args, **tags)
        return self.answer()

    def send(self, what: str, *args: Any, **tags: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([what, args, tags]) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the server has ended"
        return json.loads(line)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stages(self) -> list[str]:
        """The stages that have begun here."""
        log = self.state / "blocks" / "ran.txt"
        return log.read_text().split() if log.exists() else []


@contextlib.contextmanager
def servers(folder: Path, url: str, *names: str) -> Iterator[list[ServerProcess]]:
    """Servers of these names, ended at the end."""
    folder.mkdir(exist_ok=True)
    found = [ServerProcess(folder, name, url) for name in names]
    try:
        yield found
    finally:
        for server in found:
            server.kill()


def main(folder: str, name: str, url: str, version: str) -> None:
    if version:
        from sabot_sql.jobs import store

        store.VERSION = version
    with contextlib.closing(HandManager(settings(Path(folder), name, url))) as manager:
        manager.start()
        for line in sys.stdin:
            what, args, tags = json.loads(line)
            try:
                found = answer(manager, what, args, tags)
            except SabotError as error:
                found = {"error": error.problem.code, "detail": error.detail}
            print(json.dumps(found), flush=True)


def answer(manager: HandManager, what: str, args: list[Any], tags: dict[str, Any]) -> Any:
    match what:
        case "ready":
            manager.list()  # waits for the job database
            return True
        case "submit":
            request = dataclasses.replace(job(args[0], **tags), idempotency_key=args[1])
            return manager.submit(request).query_id
        case "execute":
            request = dataclasses.replace(job(args[0], **tags), idempotency_key=args[1])
            result = manager.execute(request)
            return [result.query_id, result.table.to_pylist(), result.stats.get("replayed", False)]
        case "local":
            return manager.execute(query(args[0])).table.to_pylist()
        case "status":
            status = manager.status(args[0], args[1])
            return [status.state, None if status.error is None else status.error.detail, status.stats.get("resumed", False)]
        case "result":
            return manager.result(args[0]).table.to_pylist()
        case "cancel":
            return manager.cancel(args[0]).state
        case "batch":
            statements = [(str(i), job(n, **tags)) for i, n in enumerate(args[0])]
            return manager.submit_batch(BatchRequest(statements, "sequential", idempotency_key=args[1])).batch_id
        case "batch_status":
            found = manager.batch_status(args[0], args[1])
            return [found.state, [s.state for s in found.statements]]
        case "batch_cancel":
            return manager.cancel_batch(args[0]).state
        case "list":
            return [status.query_id for status in manager.list()]
    raise ValueError(what)


if __name__ == "__main__":
    main(*sys.argv[1:])
