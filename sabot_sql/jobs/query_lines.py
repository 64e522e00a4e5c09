"""A line in the log for each query that ends: who asked what, how it ended and what it took.

The logger is `sabot_sql.queries`: a slow query is a warning, any other one information. Its fields are the attribute `fields`
of the record, for who writes them as JSON. Parameters are not written: they may be what a statement was to keep out of its
text. Where nobody has set up logging, as in a notebook or the shell, nothing is written.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sabot_sql.jobs.record import QueryRecord

log = logging.getLogger("sabot_sql.queries")
log.addHandler(logging.NullHandler())

SQL_CHARS = 2000
STATS = ("rows_scanned", "bytes_scanned", "queue_ms", "stages", "tasks", "retries", "bytes_spilled")


class QueryLines:
    """Writes the lines.

    Args:
        slow_s: a query that takes longer is a slow one.
    """

    def __init__(self, slow_s: float) -> None:
        self._slow_s = slow_s

    def ended(self, record: QueryRecord) -> None:
        """A query has ended."""
        took_s = (record.finished_s or record.submitted_s) - record.submitted_s
        is_slow = took_s >= self._slow_s
        level = logging.WARNING if is_slow else logging.INFO
        if log.isEnabledFor(level):
            fields = fields_of(record, took_s)
            text = "%squery %s of %s %s after %.0f ms (%s): %s"
            said = " ".join(fields["sql"].split())[:200]
            log.log(
                level, text, "slow " if is_slow else "", record.query_id, record.request.user, fields["state"],
                fields["elapsed_ms"], fields["code"] or record.route or "not planned", said, extra={"fields": fields},
            )  # fmt: skip


def fields_of(record: QueryRecord, took_s: float) -> dict[str, Any]:
    """What is known of a query that has ended."""
    error = record.error
    return {
        "query_id": record.query_id,
        "user": record.request.user,
        "state": record.state,
        "route": record.route,
        "elapsed_ms": round(took_s * 1e3, 3),
        "code": error.problem.code if error else None,
        "detail": error.detail if error else None,
        "tags": record.request.tags or None,
        **{name: record.stats[name] for name in STATS if record.stats.get(name)},
        "sql": record.request.sql[:SQL_CHARS],
    }
