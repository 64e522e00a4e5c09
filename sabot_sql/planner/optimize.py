"""The optimizer: our rules, in order, each with its reason."""

from __future__ import annotations

from collections.abc import Callable

from sabot_sql.planner import logical as lg
from sabot_sql.planner.rules.answer_counts import answer_counts
from sabot_sql.planner.rules.order_joins import order_joins
from sabot_sql.planner.rules.prune_columns import prune_columns
from sabot_sql.planner.rules.push_aggregates import push_aggregates
from sabot_sql.planner.rules.push_computations import push_computations
from sabot_sql.planner.rules.push_filters import push_filters
from sabot_sql.planner.rules.rewrite_distinct import rewrite_distinct
from sabot_sql.planner.rules.rewrite_joins import rewrite_joins
from sabot_sql.planner.rules.share_plans import optimize_shared

RULES: tuple[Callable[[lg.Plan], lg.Plan], ...] = (
    push_filters,  # conditions stand in the scans, so that estimates know them
    rewrite_joins,  # only inner, left, semi and anti joins remain
    push_filters,  # what the rewritten joins let through
    rewrite_distinct,  # distinct values are made distinct where they lie
    order_joins,  # smallest results first
    push_filters,  # conditions of the new joins
    push_aggregates,  # fewer rows for the joins
    push_computations,  # what only DuckDB evaluates is computed by the scans
    answer_counts,  # what the files have counted is not read
    prune_columns,  # last: earlier rules add and orphan columns
)


def optimize(plan: lg.Plan) -> lg.Plan:
    """`plan` rewritten by every rule; it stays executable after each."""
    return optimize_shared(plan, _by_all_rules)


def _by_all_rules(plan: lg.Plan) -> lg.Plan:
    for rule in RULES:
        plan = rule(plan)
    return plan
