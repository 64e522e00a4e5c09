"""What a server writes to stderr: lines of text, or a JSON object a line."""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
from typing import Any

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
TOLD_BY_DBOS = "Exception encountered in background workflow"


class TextLines(logging.Formatter):
    """A record as a line of text, in which nothing that somebody sent begins another line or speaks to a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, without a traceback."""
        record.message = CONTROL.sub(lambda found: ascii(found[0])[1:-1], record.message)
        return super().formatMessage(record)


class JsonLines(logging.Formatter):
    """A record as a JSON object on one line: `ts`, `level`, `logger`, `event`, the fields of a query, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        found: dict[str, Any] = {
            "ts": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return json.dumps(found, ensure_ascii=False, default=str)


def set_up_logs(level: str, kind: str) -> None:
    """Have all loggers of the process write to stderr.

    Args:
        level: of those that are written, at least.
        kind: `text` or `json`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if kind == "json" else TextLines(TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # what becomes of a job is told once, by us; DBOS would tell each error of a user's with a traceback
    logging.getLogger("dbos").addFilter(lambda record: not record.getMessage().startswith(TOLD_BY_DBOS))
