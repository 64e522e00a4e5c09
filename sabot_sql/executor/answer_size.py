"""How large an answer may be."""

from __future__ import annotations

from sabot_sql.errors import QueryError
from sabot_sql.planner.amounts import size_text


def refuse_larger(size: int, max_bytes: int) -> None:
    """Raise for an answer of `size` bytes where at most `max_bytes` may be.

    Raises:
        QueryError: RESULT_TOO_LARGE.
    """
    if size > max_bytes:
        raise QueryError(
            f"the answer is larger than {size_text(max_bytes)}, which is the limit of the setting results.max_bytes",
            code="RESULT_TOO_LARGE",
            hint="read less (LIMIT, fewer columns, an aggregate), or raise the limit: results.max_bytes of a server, "
            "connect(max_result_bytes=...) of an engine in this process",
        )
