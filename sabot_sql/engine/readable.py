"""Which tables a request may read, where that is not all of them: patterns of names, as a key of the server has them.

Another table does not exist for such a request, in the same words as one that nobody has.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from sabot_sql.catalog.hive import fold
from sabot_sql.catalog.table import Table
from sabot_sql.errors import PlanError
from sabot_sql.planner.policy import Resolve


def may_read(readable: Sequence[str] | None, table: str) -> bool:
    """Whether `readable` lets a table be read.

    Args:
        readable: names in which `*` stands for anything, in any case; None for all tables.

    Example:
        >>> may_read(["trips", "sales_*"], "Sales_2026"), may_read(["trips"], "people"), may_read(None, "people")
        (True, False, True)
    """
    return readable is None or any(_pattern(pattern).fullmatch(fold(table)) for pattern in readable)


@functools.lru_cache(4096)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, fold(text).split("*"))), re.DOTALL)


def resolving_readable(resolve: Resolve, readable: Sequence[str]) -> Resolve:
    """`resolve` over the tables that may be read."""

    def resolved(parts: tuple[str, ...]) -> Table:
        try:
            table = resolve(parts)
        except PlanError as error:
            if error.problem.code != "UNDEFINED_TABLE":
                raise
        else:
            if may_read(readable, table.name):
                return table
        # no hint: it would name others
        raise PlanError(f"there is no table {'.'.join(parts)}", code="UNDEFINED_TABLE")

    return resolved


def refuse_lists() -> PlanError:
    """What a statement that lists all tables is told."""
    return PlanError(
        "this key reads some tables only, and SQL would list all",
        code="PERMISSION_DENIED",
        hint="GET /v1/tables (\\dt, tables()) lists those that it reads",
    )
