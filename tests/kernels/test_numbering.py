"""Numbers of strings agree with a Python dict."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sabot_sql.executor.columns import Column
from sabot_sql.executor.kernels import numbering
from sabot_sql.executor.string_numbers import StringNumbers
from sabot_sql.types import Lane

ALIKE = [b"", b"\0", b"\0\0", b"1234567", b"1234567\0", b"12345678", b"123456789", b"x" * 33, b"x" * 32 + b"y"]
STRINGS = st.lists(st.one_of(st.none(), st.binary(max_size=20), st.sampled_from(ALIKE)), max_size=40)


def column_of(strings: list[bytes | None]) -> Column:
    offsets = np.zeros(len(strings) + 1, np.int64)
    np.cumsum([len(s or b"") for s in strings], out=offsets[1:])
    data = np.frombuffer(b"".join(s or b"" for s in strings), np.uint8)
    valid = np.array([s is not None for s in strings], np.uint8) if None in strings else None
    return Column(Lane.BYTES, None, None, offsets, data, valid, len(strings))


def strings_of(column: Column) -> list[bytes | None]:
    assert column.offsets is not None
    assert column.data is not None
    ends, flags = column.offsets, column.valid
    return [column.data[ends[i] : ends[i + 1]].tobytes() if flags is None or flags[i] else None for i in range(column.length)]


@given(STRINGS, STRINGS)
@settings(max_examples=80, deadline=None)
def test_strings_are_numbered_in_order_of_first_appearance(known: list[bytes | None], asked: list[bytes | None]) -> None:
    numbers, naive = StringNumbers(), {s: i for i, s in enumerate(dict.fromkeys(known))}
    found = [n for at in range(0, len(known), 7) for n in numbers.encode(column_of(known[at : at + 7])).tolist()]
    assert found == [naive[s] for s in known]
    assert numbers.count == len(naive)
    assert strings_of(numbers.decode(np.array(found, np.int64))) == known
    is_known = np.ones(len(asked), np.uint8)
    looked_up = numbers.lookup(column_of(asked), is_known)
    assert is_known.tolist() == [s in naive for s in asked]
    assert [int(n) for n, k in zip(looked_up, is_known) if k] == [naive[s] for s in asked if s in naive]


def test_what_is_known_grows_with_its_strings() -> None:
    strings: list[bytes | None] = [b"%d" % (i * 7919 % 30_011 * 1000) for i in range(50_000)]
    numbers = StringNumbers()
    found = np.concatenate([numbers.encode(column_of(strings[at : at + 9000])) for at in range(0, 50_000, 9000)])
    naive = {s: i for i, s in enumerate(dict.fromkeys(strings))}
    assert found.tolist() == [naive[s] for s in strings]
    assert strings_of(numbers.decode(np.arange(30_011))) == list(naive)


def test_equal_hashes_are_not_taken_for_equal_strings() -> None:
    column = column_of([b"one string", b"two string", b"one", b"one string", b"one string and more", b"two"])
    numbers, out = StringNumbers(), np.empty(6, np.int64)
    kept = numbers.shift, numbers.slots, numbers.arena, numbers.places, numbers.counters
    assert numbering.number(column.offsets, column.data, np.full(6, 12345, np.uint64), 0, *kept, out) == 6
    assert out.tolist() == [0, 1, 2, 0, 3, 4]
