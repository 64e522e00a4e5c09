"""Filter and project as streaming operators."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from sabot_sql.errors import QueryError
from sabot_sql.executor.filter_project import FilterOperator, ProjectOperator
from sabot_sql.planner.expressions import Call, Cast, Compare, Const, Expr, Logic, Ref
from sabot_sql.planner.physical import Filter, Project, Values
from sabot_sql.types import BIGINT, VARCHAR, Field, inner_schema
from tests.executor.tables import batch_of_rows, rows_of, stats, task

TYPES = ["BIGINT", "VARCHAR"]
INPUT = Values(0, (Field("a", BIGINT), Field("s", VARCHAR)))
A, S = Ref(0, BIGINT), Ref(1, VARCHAR)
ROWS: list[tuple[Any, ...]] = [(1, "x"), (None, "y"), (3, None), (4, "z")]


def filtered(predicate: Expr, batch: pa.RecordBatch) -> tuple[list[pa.RecordBatch], Any]:
    counters = stats()
    operator = FilterOperator(Filter(INPUT, predicate), inner_schema(INPUT.schema), counters)
    state = operator.new_state(task())
    found = list(operator.process(batch, state))
    operator.close(state)
    return found, counters


def projected(exprs: tuple[Expr, ...], batch: pa.RecordBatch) -> tuple[list[pa.RecordBatch], Any]:
    counters = stats()
    schema = tuple(Field("x", e.type) for e in exprs)
    operator = ProjectOperator(Project(INPUT, exprs, schema), inner_schema(schema), counters)
    state = operator.new_state(task())
    found = list(operator.process(batch, state))
    operator.close(state)
    return found, counters


def test_filter_keeps_rows_where_the_predicate_is_true_not_null() -> None:
    found, counters = filtered(Compare(">", A, Const(1, BIGINT)), batch_of_rows(TYPES, ROWS))
    assert rows_of(found) == [(3, None), (4, "z")]
    assert (counters.engine, counters.rows_in, counters.rows_out) == ("numba", 4, 2)


def test_filter_that_needs_duckdb_says_so() -> None:
    predicate = Logic("AND", (Call("contains", (S, Const("z", VARCHAR)), Compare("=", A, A).type), Compare("=", A, A)))
    found, counters = filtered(predicate, batch_of_rows(TYPES, ROWS))
    assert (rows_of(found), counters.engine) == ([(4, "z")], "duckdb")


def test_filter_gives_no_empty_batches() -> None:
    assert filtered(Compare(">", A, Const(9, BIGINT)), batch_of_rows(TYPES, ROWS))[0] == []
    assert filtered(Compare(">", A, Const(9, BIGINT)), batch_of_rows(TYPES, []))[0] == []


def test_filter_that_keeps_all_rows_does_not_copy() -> None:
    batch = batch_of_rows(TYPES, [(1, "x"), (2, "y")])
    assert filtered(Compare(">", A, Const(0, BIGINT)), batch)[0] == [batch]


def test_project_computes_each_expression() -> None:
    found, counters = projected((S, Compare(">=", A, Const(3, BIGINT)), Call("//", (A, A), BIGINT)), batch_of_rows(TYPES, ROWS))
    assert rows_of(found) == [("x", False, 1), ("y", None, None), (None, True, 1), ("z", True, 1)]
    assert (counters.engine, counters.rows_in, counters.rows_out) == ("duckdb", 4, 4)


def test_project_to_no_columns_keeps_the_number_of_rows() -> None:
    found, counters = projected((), batch_of_rows(TYPES, ROWS))
    assert [(b.num_rows, b.num_columns) for b in found] == [(4, 0)]
    assert counters.engine == "numba"


def test_value_without_result_is_the_users_error() -> None:
    with pytest.raises(QueryError, match="'x'"):
        projected((Cast(S, BIGINT),), batch_of_rows(TYPES, ROWS))
