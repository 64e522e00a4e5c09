"""Words are equal exactly where keys are, and the partition hash is the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.executor.columns import Column, unwrap, wrap
from sabot_sql.executor.keys import KeyEncoder, partition_hash
from sabot_sql.types import BIGINT, DOUBLE, HUGEINT, VARCHAR, SqlType, inner_arrow_type, parse_type

UBIGINT = parse_type("UBIGINT")


def column(values: list[Any], sql_type: SqlType) -> Column:
    return unwrap(pa.array(values, inner_arrow_type(sql_type)), sql_type)


def key(value: Any) -> Any:
    return "NaN" if isinstance(value, float) and value != value else value


STRINGS = st.one_of(
    st.none(), st.text(max_size=12), st.sampled_from(["", "a", "a\0", "1234567", "12345678", "12345679", "f" * 15, "s" * 16])
)
FLOATS = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, -0.0, float("nan")]))
WIDES = st.one_of(st.none(), st.integers(-(10**38) + 1, 10**38 - 1).map(Decimal), st.sampled_from([Decimal(0), Decimal(2**64)]))
INTS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2))


@given(st.lists(st.tuples(INTS, STRINGS, FLOATS, WIDES), max_size=40), st.booleans(), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_words_are_equal_exactly_where_keys_are(rows: list[tuple[Any, ...]], growable: bool, step: int) -> None:
    types = (BIGINT, VARCHAR, DOUBLE, HUGEINT)
    encoder = KeyEncoder(types, growable)
    words: list[list[int]] = []
    for at in range(0, len(rows), step):
        part = rows[at : at + step]
        words += encoder.encode([column([r[k] for r in part], t) for k, t in enumerate(types)]).T.tolist()
    words = [w + [0] * (encoder.num_words - len(w)) for w in words]
    mine = [words.index(w) for w in words]
    keys = [tuple(map(key, row)) for row in rows]
    assert mine == [keys.index(k) for k in keys]
    if rows:
        back = encoder.decode(np.ascontiguousarray(np.array(words, np.int64).T))
        decoded = zip(*(wrap(c, inner_arrow_type(t)).to_pylist() for c, t in zip(back, types)))
        assert [tuple(map(key, row)) for row in decoded] == keys


def test_a_lookup_finds_what_was_encoded_and_adds_nothing() -> None:
    encoder = KeyEncoder((VARCHAR,), growable=False)
    known = encoder.encode([column(["short", "quite a long string", None], VARCHAR)])
    held = encoder.size_bytes
    words, found = encoder.lookup([column(["quite a long string", "quite a long strinG", "new", None, "short"], VARCHAR)])
    assert found.tolist() == [1, 0, 1, 1, 1]
    assert words[:, [4, 0, 3]].tolist() == known.tolist()
    assert encoder.size_bytes == held


def test_a_lookup_tells_strings_without_a_dictionary_from_those_with_one() -> None:
    encoder = KeyEncoder((VARCHAR,), growable=False)
    known = encoder.encode([column(["eight by", "fifteen bytes..", "", None], VARCHAR)])
    assert (encoder.num_words, encoder.size_bytes) == (3, KeyEncoder((VARCHAR,), growable=False).size_bytes)
    words, found = encoder.lookup([column(["fifteen bytes..", "sixteen bytes...", "eight bY", None], VARCHAR)])
    assert found.tolist() == [1, 0, 1, 1]
    assert words[:, [0, 3]].tolist() == known[:, [1, 3]].tolist()
    assert words[:, 2].tolist() not in known.T.tolist()


def test_a_null_cannot_be_found_when_none_was_encoded() -> None:
    encoder = KeyEncoder((BIGINT, BIGINT), growable=True)
    encoder.encode([column([0, 1], BIGINT), column([0, 0], BIGINT)])
    words, found = encoder.lookup([column([0, None], BIGINT), column([0, 0], BIGINT)])
    assert words.shape == (2, 2)
    assert found.tolist() == [1, 0]


def test_null_words_come_with_the_first_null_or_at_once() -> None:
    late, early = KeyEncoder((BIGINT,), growable=True), KeyEncoder((BIGINT,), growable=False)
    assert (late.num_words, early.num_words) == (1, 2)
    assert late.encode([column([5], BIGINT)]).tolist() == [[5]]
    assert late.encode([column([None, 5], BIGINT)]).tolist() == [[0, 5], [1, 0]]
    assert late.num_words == 2


def test_one_integer_key_is_encoded_without_a_copy() -> None:
    keys = column([1, 2, 3], BIGINT)
    assert np.shares_memory(KeyEncoder((BIGINT,), growable=True).encode([keys]), keys.values)


def test_dictionaries_grow_past_many_and_long_strings() -> None:
    strings = [f"string number {i}" for i in range(5000)] + ["x" * 100_000, ""] + ["y" * 7, "y" * 8]
    encoder = KeyEncoder((VARCHAR,), growable=True)
    parts = [encoder.encode([column(strings[at : at + 700], VARCHAR)]) for at in range(0, len(strings), 700)]
    words = np.concatenate(parts, axis=1)
    assert len(set(words[0].tolist())) == len(strings)
    again = encoder.encode([column(strings, VARCHAR)])
    assert (again == words).all()
    assert wrap(encoder.decode(words)[0], pa.large_string()).to_pylist() == strings


def hashes(*columns: tuple[list[Any], SqlType]) -> list[int]:
    found: list[int] = partition_hash([column(v, t) for v, t in columns]).tolist()
    return found


def test_partition_hashes_do_not_change() -> None:
    """A restarted job reads blocks that another release has written: a change of these numbers is one of the plan's version."""
    assert hashes(([0, 1, None], BIGINT)) == [12035550249420947055, 6791897765849424158, 7192185014346937746]
    assert hashes((["", "abc"], VARCHAR)) == [12035550249420947055, 17588555978546063811]
    assert hashes(([1.5], DOUBLE)) == [7640868585037623358]
    assert hashes(([Decimal(-1)], HUGEINT)) == [12801452569504395161]
    assert hashes(([2**64 - 1], UBIGINT)) == hashes(([-1], BIGINT))


def test_partition_hash_takes_one_zero_and_one_nan() -> None:
    payload = np.array([0x7FF8000000000001, 0xFFF8000000000000], np.uint64).view(np.float64)
    assert len(set(hashes((payload.tolist(), DOUBLE)))) == 1
    assert len(set(hashes(([0.0, -0.0], DOUBLE)))) == 1


def test_partition_hash_depends_on_the_order_of_columns_and_does_not_cancel() -> None:
    a, b = ([1, 2], BIGINT), ([2, 1], BIGINT)
    assert hashes(a, b)[0] == hashes(b, a)[1]
    assert hashes(a, b)[0] != hashes(b, a)[0]
    assert 0 not in hashes(a, a)
    assert len({*hashes(([None, 0], BIGINT), ([0, None], BIGINT)), *hashes(([None], BIGINT), ([None], BIGINT))}) == 3


def test_partition_hash_does_not_depend_on_where_strings_lie() -> None:
    array = pa.array(["x" * 40, "abc", "žluťoučký kůň úpěl", None], pa.large_string())
    whole = partition_hash([unwrap(array, VARCHAR)]).tolist()
    assert partition_hash([unwrap(array.slice(1), VARCHAR)]).tolist() == whole[1:]
    assert partition_hash([unwrap(array.cast(pa.string()), VARCHAR)]).tolist() == whole


@pytest.mark.parametrize("partitions", [2, 7, 64])
def test_partitions_are_even(partitions: int) -> None:
    for values in (list(range(20_000)), [i << 40 for i in range(20_000)]):
        sizes = np.bincount(partition_hash([column(values, BIGINT)]) % np.uint64(partitions), minlength=partitions)
        assert sizes.max() < 1.3 * len(values) / partitions


PROGRAM = """
import pyarrow as pa
from sabot_sql.executor.columns import unwrap
from sabot_sql.executor.keys import partition_hash
from sabot_sql.types import *
strings = pa.array(["", "a", None, "a string that is longer than thirty-two bytes"], pa.large_string())
floats = pa.array([0.0, float("nan"), None, -1.5])
print(partition_hash([unwrap(strings, VARCHAR), unwrap(floats, DOUBLE)]).tolist())
"""


def test_partition_hash_agrees_between_processes() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env={**os.environ, **extra}, capture_output=True, text=True, check=True
        ).stdout
        for extra in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"}, {"NUMBA_DISABLE_JIT": "1"})
    }
    assert len(printed) == 1
