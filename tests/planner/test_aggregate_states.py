"""Aggregates in two steps: the types of states are DuckDB's, and the planner makes two steps only where they pay."""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import pyarrow as pa
import pytest

from sabot_sql.planner.aggregate_states import BEST, EXTREMES, FIRST, IDEMPOTENT, OF_ONE, OF_TWO, QUANTILE, REPEATED, state_type
from sabot_sql.planner.bind import Binder
from sabot_sql.planner.explain import draw_stages
from sabot_sql.planner.lower import lower
from sabot_sql.planner.optimize import optimize
from sabot_sql.planner.physical import Session
from sabot_sql.planner.stages import Cluster
from sabot_sql.types import inner_arrow_type, parse_type
from tests.planner.tpch import tpch_tables

TABLES = tpch_tables()

ANY = "BOOLEAN INTEGER UBIGINT FLOAT DECIMAL(18,2) VARCHAR BLOB DATE TIMESTAMP_NS INTERVAL UUID INTEGER[] INTEGER[2]".split()
NUMBERS = "SMALLINT INTEGER BIGINT HUGEINT DOUBLE DECIMAL(4,1) DECIMAL(9,2) DECIMAL(38,2)".split()
KNOWN: list[tuple[str, tuple[str, ...]]] = [
    *((name, ("DOUBLE",)) for name in OF_ONE),
    *((name, ("DOUBLE", "DOUBLE")) for name in OF_TWO),
    *((name, (t,)) for name in [*sorted(FIRST), "approx_count_distinct", "count"] for t in ANY),
    *((name, (t, "DOUBLE")) for name in sorted(BEST) for t in ANY),
    *((name, ("DOUBLE", t)) for name in sorted(BEST) for t in ANY),
    *((name, (t,)) for name in ("sum", "avg", "mean") for t in NUMBERS),
    *(("avg", (t,)) for t in ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIME")),
    *((name, ("BOOLEAN",)) for name in ("sum", "count_if", "countif")),
    *((QUANTILE, (t, "FLOAT")) for t in NUMBERS if t != "HUGEINT"),
    ("count_star", ()),
]


@pytest.fixture(scope="module")
def agent() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"arrow_output_version": "1.5", "arrow_large_buffer_size": True})


@pytest.mark.parametrize(("name", "types"), KNOWN, ids=str)
def test_type_of_a_state_is_duckdbs(agent: duckdb.DuckDBPyConnection, name: str, types: tuple[str, ...]) -> None:
    found = state_type(name, tuple(map(parse_type, types)))
    assert found is not None
    args = [f"NULL::{t}" for t in types] if name != QUANTILE else [f"NULL::{types[0]}", "0.5::FLOAT"]
    call = f"{name}({', '.join(args)})" if types else "count(*)"
    exported = agent.sql(f"SELECT {call} EXPORT_STATE AS s FROM range(1)").to_arrow_table().schema.field("s").type
    assert without_views(exported) == inner_arrow_type(found)


def without_views(t: pa.DataType) -> pa.DataType:
    """The type with BLOBs as agents carry them."""
    if pa.types.is_struct(t):
        return pa.struct([(f.name, without_views(f.type)) for f in t])
    return pa.large_binary() if pa.types.is_binary_view(t) else t


@pytest.mark.parametrize("name", sorted(REPEATED))
def test_answers_of_repeated_functions_are_of_their_arguments_types(agent: duckdb.DuckDBPyConnection, name: str) -> None:
    types = (
        ANY if name in EXTREMES else ["BOOLEAN"] if name.startswith("bool") else ["TINYINT", "BIGINT", "UINTEGER", "HUGEINT"]
    )
    for t in types:
        assert (
            str(agent.sql(f"SELECT {name}(NULL::{t})").types[0])
            == str(parse_type(t))
            == str(state_type(name, (parse_type(t),)))
        )


@pytest.mark.parametrize("name", "median mode list string_agg entropy histogram mad product last quantile_cont geomean".split())
def test_holistic_functions_have_no_state(name: str) -> None:
    assert state_type(name, (parse_type("DOUBLE"),)) is None
    assert name not in IDEMPOTENT


@pytest.mark.parametrize(
    "types", [("DOUBLE", "VARCHAR", "INTEGER"), ("HUGEINT[]", "DOUBLE"), ("JSON", "DOUBLE"), ("NULL", "DOUBLE")]
)
def test_what_does_not_travel_inside_of_a_state_has_none(types: tuple[str, ...]) -> None:
    assert state_type("arg_max", tuple(map(parse_type, types))) is None


@pytest.fixture(scope="module")
def draw() -> Callable[[str], str]:
    binder = Binder()

    def plan(sql: str) -> str:
        bound = binder.bind(sql, TABLES.values(), TABLES.__getitem__, Session())
        return draw_stages(lower(optimize(bound.plan), bound.schema, Cluster(slots=2), Session()))

    return plan


def test_states_are_made_above_the_scan_and_gathered(draw: Callable[[str], str]) -> None:
    text = draw("select l_returnflag, stddev(l_quantity), count(*) from lineitem group by 1")
    first, second = text.split("┌─ stage 1")
    assert "gather → stage 1" in first
    assert 'Aggregate partial by l_returnflag ["stddev"(c1), "count"(*)] [duckdb]' in first
    assert "Aggregate final" in second
    assert "combine_aggr" in second


def test_many_groups_are_merged_by_hash(draw: Callable[[str], str]) -> None:
    text = draw("select l_partkey, l_linenumber % 3, stddev(l_tax) from lineitem group by all")
    assert "hash by l_partkey, c1 into 2" in text
    assert text.index("Aggregate partial") < text.index("Aggregate final")


@pytest.mark.parametrize(
    "call",
    [
        "median(l_tax)",
        "string_agg(l_comment, ';')",
        "stddev(l_tax), median(l_tax)",
        "arg_max(l_tax, l_quantity order by l_orderkey)",
        "stddev(distinct l_tax), count(*)",
        "arg_max(l_tax, l_quantity, 2)",
    ],
)
def test_one_call_without_a_state_keeps_groups_whole(draw: Callable[[str], str], call: str) -> None:
    text = draw(f"select l_returnflag, {call} from lineitem group by 1")
    assert "Aggregate SELECT" in text
    assert "Aggregate partial" not in text


def test_quantiles_are_listed_by_kernels_where_groups_are_not_large(
    draw: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sabot_sql.planner.lower.LISTED_ROWS", 200_000)
    calls = "median(l_linenumber), stddev(l_tax)"
    assert "quantile_cont(c1, 0.5)" in draw(f"select l_partkey, {calls} from lineitem group by 1")
    assert "Aggregate SELECT" in draw(f"select l_linenumber % 2, {calls} from lineitem group by 1")


def test_as_many_groups_as_rows_move_as_rows(draw: Callable[[str], str]) -> None:
    assert "Aggregate partial" not in draw("select l_orderkey, stddev(l_tax) from lineitem group by 1")


def test_states_larger_than_the_rows_of_a_group_are_not_made(draw: Callable[[str], str]) -> None:
    assert "Aggregate partial" in draw("select l_partkey % 1000, approx_count_distinct(l_tax) from lineitem group by 1")
    assert "Aggregate partial" not in draw("select l_partkey, approx_count_distinct(l_tax) from lineitem group by 1")


def test_large_states_are_not_made_of_groups_whose_number_is_guessed(draw: Callable[[str], str]) -> None:
    assert "Aggregate partial" in draw("select l_shipmode, stddev(l_tax) from lineitem group by 1")
    assert "Aggregate partial" not in draw("select l_shipmode, approx_count_distinct(l_tax) from lineitem group by 1")
    assert "Aggregate partial" in draw("select approx_count_distinct(l_tax) from lineitem")


@pytest.mark.parametrize(
    ("call", "kernel"),
    [("bool_and(l_tax > 0)", "min"), ("bool_or(distinct l_tax > 0)", "max"), ("count_if(l_tax > 0)", "sum")],
)
def test_truth_is_aggregated_by_kernels(draw: Callable[[str], str], call: str, kernel: str) -> None:
    text = draw(f"select l_returnflag, {call} from lineitem group by 1")
    assert f"HashAggregate partial by l_returnflag [{kernel}(" in text
    assert "Aggregate final SELECT" not in text
