"""Columns of DuckDB's serialised plan by position.

DuckDB serialises expressions that name a column by its place in the operator's input, but leaves those below a table function
that is called for rows as its binder wrote them: by the operator that made the column, and its place there.
"""

from __future__ import annotations

from typing import Any

from sabot_sql.errors import NotSupported

Json = dict[str, Any]
Binding = tuple[int, int]


def by_position(op: Json) -> Json:
    """The plan below and at `op` with each column named by its place.

    Raises:
        NotSupported: a column of an operator whose columns are not known here.
    """
    return _resolved(op)[0]


def _resolved(op: Json) -> tuple[Json, list[Binding]]:
    """`by_position`, and what DuckDB's binder calls the columns that `op` gives out; none where that is not known."""
    below = [_resolved(child) for child in op["children"]]
    inputs = [columns for _, columns in below]
    every = [b for one in inputs for b in one]
    if op["type"] == "LOGICAL_ANY_JOIN":  # its condition counts the columns that it hands on
        theirs = [] if op["join_type"] in ("SEMI", "ANTI") else op["right_projection_map"]
        every = [*_picked(inputs[0], op["left_projection_map"]), *_picked(inputs[1], theirs)]
    found = {key: _placed(value, every) for key, value in op.items() if key not in ("children", "conditions")}
    if "conditions" in op:
        left, right = inputs
        found["conditions"] = [
            c | {"left": _placed(c["left"], left if c.get("right") else every), "right": _placed(c.get("right"), right)}
            for c in op["conditions"]
        ]
    return found | {"children": [child for child, _ in below]}, _bindings(op, inputs)


def _placed(part: Any, columns: list[Binding]) -> Any:
    """A part of an operator over `columns`."""
    if isinstance(part, list):
        return [_placed(p, columns) for p in part]
    if not isinstance(part, dict):
        return part
    if part.get("expression_class") != "BOUND_COLUMN_REF":
        return {key: _placed(value, columns) for key, value in part.items()}
    binding = _binding(part["binding"])
    if binding not in columns:
        raise NotSupported("a column of this table function's input cannot be found, which cannot run distributed yet")
    return part | {"expression_class": "BOUND_REF", "index": columns.index(binding)}


def _bindings(op: Json, below: list[list[Binding]]) -> list[Binding]:
    match op["type"]:
        case "LOGICAL_CTE_REF" | "LOGICAL_CHUNK_GET":
            return _of(op["table_index"], len(op["chunk_types"]))
        case "LOGICAL_DUMMY_SCAN":
            return _of(op["table_index"], 1)
        case "LOGICAL_EXPRESSION_GET":
            return _of(op["table_index"], len(op["expr_types"]))
        case "LOGICAL_EMPTY_RESULT":
            return [_binding(b) for b in op["bindings"]]
        case "LOGICAL_PROJECTION":
            return _of(op["table_index"], len(op["expressions"]))
        case "LOGICAL_GET":
            ids = [int(i) for i in op["projection_ids"]] or range(max(1, len(op["column_indexes"])))
            kept = _picked(below[0], op["projected_input"]) if op["projected_input"] else []
            return [*((int(op["table_index"]), i) for i in ids), *kept]
        case "LOGICAL_AGGREGATE_AND_GROUP_BY":
            calls = _of(op["aggregate_index"], len(op["expressions"]))
            return [
                *_of(op["group_index"], len(op["groups"])),
                *calls,
                *_of(op["groupings_index"], len(op["grouping_functions"])),
            ]
        case "LOGICAL_FILTER":
            return _picked(below[0], op["projection_map"])
        case "LOGICAL_ORDER_BY":
            return _picked(below[0], op["projections"])
        case "LOGICAL_LIMIT" | "LOGICAL_DISTINCT" | "LOGICAL_TOP_N" | "LOGICAL_SAMPLE":
            return below[0]
        case "LOGICAL_WINDOW":
            return [*below[0], *_of(op["window_index"], len(op["expressions"]))]
        case "LOGICAL_UNNEST":
            return [*below[0], *_of(op["unnest_index"], len(op["expressions"]))]
        case "LOGICAL_UNION" | "LOGICAL_EXCEPT" | "LOGICAL_INTERSECT" | "LOGICAL_RECURSIVE_CTE":
            return _of(op["table_index"], op["column_count"])
        case "LOGICAL_CROSS_PRODUCT" | "LOGICAL_POSITIONAL_JOIN":
            return [*below[0], *below[1]]
        case "LOGICAL_COMPARISON_JOIN" | "LOGICAL_ANY_JOIN" | "LOGICAL_ASOF_JOIN":
            left = _picked(below[0], op["left_projection_map"])
            match op["join_type"]:
                case "SEMI" | "ANTI":
                    return left
                case "MARK":
                    return [*left, *_of(op["mark_index"], 1)]
            return [*left, *_picked(below[1], op["right_projection_map"])]
        case "LOGICAL_MATERIALIZED_CTE":
            return below[1]
    return []


def _binding(part: Json) -> Binding:
    return int(part["table_index"]), int(part["column_index"])


def _picked(columns: list[Binding], places: list[Any]) -> list[Binding]:
    """The columns that a projection map keeps; an empty one keeps all. None of columns that are not known."""
    return [columns[int(i)] for i in places] if columns and places else columns


def _of(index: int, count: int) -> list[Binding]:
    return [(int(index), i) for i in range(count)]
