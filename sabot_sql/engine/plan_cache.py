"""Distributed plans of earlier queries: a statement asked again over tables that are the same has its plan already."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from sabot_sql.planner.decode import CLOCK
from sabot_sql.planner.physical import DistributedPlan
from sabot_sql.types import Schema

PLANS = 64
LONGEST_SQL = 16 << 10

# What stands for the time of the query is worked out while it is planned.
TIME = re.compile(rf"\b(?:{'|'.join(CLOCK)})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Planned:
    """What planning a statement gave: the result's columns, the optimized plan as EXPLAIN draws it, and the stages."""

    columns: Schema
    logical: str
    plan: DistributedPlan


class PlanCache:
    """The plans of the statements that were asked last. Thread-safe.

    A key must hold all that the plan depends on: the text with its constants, the version of each table, which changes with
    its files, its schema and its statistics, and the session's time zone.
    """

    def __init__(self) -> None:
        self._plans: OrderedDict[Hashable, Planned] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Planned | None:
        """The plan under `key`."""
        with self._lock:
            found = self._plans.get(key)
            if found is not None:
                self._plans.move_to_end(key)
            return found

    def put(self, key: Hashable, sql: str, planned: Planned) -> None:
        """Keep a plan, unless `sql` is very long or its meaning depends on when it is asked."""
        if len(sql) > LONGEST_SQL or TIME.search(sql):
            return
        with self._lock:
            self._plans[key] = planned
            while len(self._plans) > PLANS:
                self._plans.popitem(last=False)
