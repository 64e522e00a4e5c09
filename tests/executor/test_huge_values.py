"""HUGEINT and UHUGEINT in answers."""

from __future__ import annotations

import duckdb
import pytest

from sabot_sql.errors import QueryError
from sabot_sql.executor.huge_values import check_huge

HUGE = "170141183460469231731687303715884105727::HUGEINT"
UNSIGNED = "340282366920938463463374607431768211455::UHUGEINT"  # comes as -1
SHAPES = {
    "{}": "VARCHAR",
    "[{}]": "VARCHAR[]",
    "array_value({})": "VARCHAR[1]",
    "{{'x': [{}]}}": "STRUCT(x VARCHAR[])",
    "MAP {{1: {}}}": "MAP(INTEGER, VARCHAR)",
    "MAP {{{}: 1}}": "MAP(VARCHAR, INTEGER)",
    "row({}, 1)": "VARCHAR",
    "union_value(k := {})": "VARCHAR",
}


def check(sql: str) -> None:
    with duckdb.connect() as con:
        relation = con.sql(sql)
        check_huge(relation.to_arrow_table(), list(map(str, relation.types)))


@pytest.mark.parametrize("value", [HUGE, UNSIGNED, "100000000000000000000000000000000000000::UHUGEINT"])
@pytest.mark.parametrize("shape", SHAPES)
def test_value_of_more_than_38_digits_is_refused_however_deep(value: str, shape: str) -> None:
    with pytest.raises(QueryError, match='column "a" has a value of more than 38 digits') as caught:
        check(f"SELECT {shape.format(value)} AS a")
    assert caught.value.problem.code == "INVALID_VALUE"
    assert (caught.value.hint or "").removesuffix(" or ::DOUBLE") == f'cast it: "a"::{SHAPES[shape]}'


@pytest.mark.parametrize("value", ["-99999999999999999999999999999999999999::HUGEINT", "NULL::UHUGEINT", "7::UHUGEINT"])
@pytest.mark.parametrize("shape", SHAPES)
def test_value_that_fits_passes(value: str, shape: str) -> None:
    if "NULL" not in value or shape != "MAP {{{}: 1}}":
        check(f"SELECT unnest([{shape.format(value)}, NULL]) AS a")


def test_rows_that_are_not_there_pass() -> None:
    check(f"SELECT {UNSIGNED} AS a, [{UNSIGNED}] AS b WHERE false")


def test_the_cast_of_the_hint_gives_the_value() -> None:
    with duckdb.connect() as con:
        assert con.sql(f"SELECT [{UNSIGNED}]::VARCHAR[]").fetchall() == [(["340282366920938463463374607431768211455"],)]
