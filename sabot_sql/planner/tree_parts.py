"""Parts of sqlglot's trees that estimates ask for. Nothing here changes a tree: the same one may be read by several threads."""

from __future__ import annotations

from typing import Any

from sqlglot import exp

from sabot_sql.planner.constants import Params, constant

EVERY_ROW = 1e18
"""A LIMIT that leaves nothing out."""

AGGREGATES = frozenset(
    "count_if countif favg fsum kahan_sum sumkahan bitstring_agg entropy kurtosis kurtosis_pop mad product sem skewness "
    "histogram geomean geometric_mean string_agg regr_count regr_sxx regr_sxy regr_syy regr_r2 bool_and "
    "bool_or arbitrary".split()
)
"""Aggregate functions that sqlglot takes for plain ones."""


def select_of(table: Any) -> Any:
    """`SELECT * FROM table`, beside the tree that the table stands in."""
    found, start = exp.Select(), exp.From()
    start.args["this"] = table
    found.args["from_"], found.args["expressions"] = start, [exp.Star()]
    return found


def sampled(rows: float, sample: Any, params: Params) -> float:
    """Rows that TABLESAMPLE keeps."""
    percent, size = (constant(sample.args.get(k), params) for k in ("percent", "size"))
    if isinstance(percent, (int, float)):
        return rows * min(1.0, float(percent) / 100)
    return min(rows, float(size)) if isinstance(size, (int, float)) else rows


def limit_of(node: Any, params: Params) -> tuple[float, float] | None:
    """LIMIT and OFFSET, where they are numbers."""
    limit = node.args.get("limit")
    if limit is None:
        offset = node.args.get("offset")
        return None if offset is None else (EVERY_ROW, _whole(offset, params))
    count = limit.args.get("expression") or limit.args.get("count")
    if count is None or ((options := limit.args.get("limit_options")) is not None and options.args.get("percent")):
        return None
    value = constant(count, params)
    if not isinstance(value, int):
        return None
    return float(max(0, value)), _whole(node.args.get("offset"), params)


def _whole(offset: Any, params: Params) -> float:
    value = constant(offset.args.get("expression"), params) if offset is not None else None
    return float(max(0, value)) if isinstance(value, int) else 0.0


def conjuncts(node: Any) -> list[Any]:
    """The conditions that AND joins."""
    found: list[Any] = []
    todo = [node] if node is not None else []
    while todo:
        part = todo.pop()
        kind = type(part)
        if kind is exp.And:
            todo += (part.args["expression"], part.args["this"])
        elif kind is exp.Paren:
            todo.append(part.args["this"])
        else:
            found.append(part)
    return found


def common_equalities(node: Any) -> list[Any]:
    """The equalities of columns that stand in every branch of an OR."""
    branches = []
    for branch in node.flatten():
        branches.append([
            part for part in conjuncts(branch)
            if type(part) is exp.EQ and type(part.args["this"]) is exp.Column and type(part.args["expression"]) is exp.Column
        ])  # fmt: skip
    first, *others = branches
    return [part for part in first if all(part in other for other in others)]


QUERIES = frozenset((exp.Select, exp.Subquery, exp.Union, exp.Intersect, exp.Except))
LEAVES = frozenset((exp.Column, exp.Literal, exp.Star, exp.Identifier, exp.DataType, exp.Null, exp.Boolean, exp.Var))


def survey(items: list[Any]) -> tuple[list[Any], bool]:
    """The subqueries that stand in expressions, those inside of them left out; and whether an aggregate function does that
    is no window's."""
    queries: list[Any] = []
    aggregates = False
    stack = list(items)
    while stack:
        part = stack.pop()
        kind = type(part)
        if kind in LEAVES:
            continue
        if kind in QUERIES:
            queries.append(part)
            continue
        if kind is exp.Window:
            stack.extend(part.args["this"].iter_expressions())
            stack.extend(v for k, v in part.args.items() if k != "this" and isinstance(v, exp.Expr))
            continue
        if not aggregates and (isinstance(part, exp.AggFunc) or (kind is exp.Anonymous and part.name.lower() in AGGREGATES)):
            aggregates = True
        stack.extend(part.iter_expressions())
    return queries, aggregates


def names_of(items: list[Any]) -> list[str]:
    """The folded names of the items of SELECT; of one without a name its position."""
    return [item.alias_or_name.lower() or f"#{i}" for i, item in enumerate(items)]
