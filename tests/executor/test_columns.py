"""Arrow arrays of every type become columns and come back, whatever their offset and NULLs."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sabot_sql.errors import InternalError
from sabot_sql.executor.columns import unwrap, wrap
from sabot_sql.types import BIGINT, DOUBLE, VARCHAR, Lane, arrow_type, inner_arrow_type, parse_type

VALUES: dict[str, list[Any]] = {
    "BOOLEAN": [True, False, False, True, True, False, True, True, False, True],
    "TINYINT": [-128, 127, 0],
    "SMALLINT": [-(2**15), 2**15 - 1, 1],
    "INTEGER": [-(2**31), 2**31 - 1, 1],
    "BIGINT": [-(2**63), 2**63 - 1, 1],
    "UTINYINT": [0, 255, 1],
    "USMALLINT": [0, 2**16 - 1, 1],
    "UINTEGER": [0, 2**32 - 1, 1],
    "UBIGINT": [0, 2**64 - 1, 1],
    "HUGEINT": [Decimal(10**37), Decimal(-(10**37)), Decimal(-1)],
    "FLOAT": [0.5, -1.0, float("inf")],
    "DOUBLE": [0.1, -1e300, float("-inf")],
    "DATE": [dt.date(1970, 1, 1), dt.date(9999, 12, 31), dt.date(1, 1, 1)],
    "TIME": [dt.time(0), dt.time(23, 59, 59, 999999), dt.time(1)],
    "TIMESTAMP": [dt.datetime(1970, 1, 1), dt.datetime(2024, 2, 29, 1, 2, 3, 4), dt.datetime(1900, 1, 1)],
    "TIMESTAMP_S": [dt.datetime(1970, 1, 1), dt.datetime(2024, 2, 29, 1, 2, 3), dt.datetime(1900, 1, 1)],
    "DECIMAL(4,1)": [Decimal("999.9"), Decimal("-999.9"), Decimal("0.0")],
    "DECIMAL(18,3)": [Decimal("999999999999999.999"), Decimal("-0.001"), Decimal("1.000")],
    "DECIMAL(38,2)": [Decimal("9" * 36 + ".99"), Decimal("-" + "9" * 36 + ".99"), Decimal("0.01")],
    "VARCHAR": ["", "žluť", "a\0b"],
    "UUID": ["00000000-0000-0000-0000-000000000000", "x", "y"],
    "BLOB": [b"", b"\xff\xfe", b"\0"],
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("nulls", [False, True])
def test_values_come_back_from_any_offset(name: str, outside: bool, nulls: bool) -> None:
    sql_type = parse_type(name)
    kind = arrow_type(sql_type) if outside else inner_arrow_type(sql_type)
    values = [*VALUES[name] * 5, None, *VALUES[name], None] if nulls else VALUES[name] * 5
    array = pa.array(values, kind)
    for start, length in ((0, len(values)), (1, len(values) - 1), (9, 5), (len(values), 0), (3, 0)):
        column = unwrap(array.slice(start, length), sql_type)
        back = wrap(column, kind)
        back.validate(full=True)
        assert column.length == length
        assert back.to_pylist() == values[start : start + length]
        assert back.type == kind


def test_columns_without_nulls_have_no_flags() -> None:
    array = pa.array([1, None, 3, 4])
    assert unwrap(array, BIGINT).valid is not None
    assert unwrap(array.slice(2), BIGINT).valid is None


@pytest.mark.parametrize("values", [pa.array([1, 2, 3]), pa.array([1.0, 2.0, 3.0])])
def test_words_of_their_own_width_are_not_copied(values: pa.Array) -> None:
    column = unwrap(values.slice(1), BIGINT if values.type == pa.int64() else DOUBLE)
    assert column.values is not None
    assert column.values.__array_interface__["data"][0] == values.buffers()[1].address + 8
    assert not column.values.flags.writeable


def test_strings_are_not_copied_inside() -> None:
    array = pa.array(["a", "bc", "d"], pa.large_string())
    column = unwrap(array.slice(1), VARCHAR)
    assert column.offsets is not None
    assert column.offsets.tolist() == [1, 3, 4]
    assert column.data is not None
    assert column.data.__array_interface__["data"][0] == array.buffers()[2].address


@pytest.mark.parametrize("kind", [pa.int32(), pa.large_string()])
def test_a_column_of_nulls_only(kind: pa.DataType) -> None:
    column = unwrap(pa.nulls(3, kind), BIGINT if kind == pa.int32() else VARCHAR)
    assert column.valid is not None
    assert column.valid.tolist() == [0, 0, 0]
    assert wrap(column, kind).to_pylist() == [None, None, None]


def test_wide_limbs_are_twos_complement() -> None:
    column = unwrap(pa.array([Decimal(-1), Decimal(2**64)], pa.decimal128(38, 0)), parse_type("HUGEINT"))
    assert column.lane is Lane.WIDE
    assert column.values is not None
    assert column.high is not None
    assert column.values.tolist() == [2**64 - 1, 0]
    assert column.high.tolist() == [-1, 1]
    assert (column.values.dtype, column.high.dtype) == (np.uint64, np.int64)


@pytest.mark.parametrize(
    ("array", "name"), [(pa.array([[1]]), "BIGINT"), (pa.array(["a"]), "BIGINT"), (pa.array([1]), "VARCHAR")]
)
def test_an_arrow_type_that_cannot_carry_the_sql_type_is_our_bug(array: pa.Array, name: str) -> None:
    with pytest.raises(InternalError):
        unwrap(array, parse_type(name))
