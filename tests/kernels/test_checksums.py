"""The checksum is XXH64 of each part, mixed in sequence, and depends on every bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import sabot_sql.executor.kernel_cache  # noqa: F401  (kernels are kept between runs)
from sabot_sql.executor.kernels.checksums import checksum
from tests.kernels.test_hashing import XXH64, naive_mix


def of(data: bytes, *spans: int) -> int:
    return int(checksum(np.frombuffer(data, np.uint8), np.array(spans, np.int64)))


def test_parts_are_hashed_as_published_and_mixed_in_sequence() -> None:
    data, spans, expected = b"", [], 2 * len(XXH64)
    for text, value in XXH64.items():
        spans += [len(data), len(data) + len(text)]
        data += text.encode()
        expected = naive_mix(expected ^ value)
    assert of(data, *spans) == expected


@given(st.binary(min_size=1, max_size=200), st.data())
def test_every_changed_bit_is_noticed_within_the_parts_and_none_outside(data: bytes, draw: st.DataObject) -> None:
    begin = draw.draw(st.integers(0, len(data) - 1))
    end = draw.draw(st.integers(begin + 1, len(data)))
    place, bit = draw.draw(st.integers(0, len(data) - 1)), draw.draw(st.integers(0, 7))
    changed = bytes([*data[:place], data[place] ^ 1 << bit, *data[place + 1 :]])
    assert (of(data, begin, end) == of(changed, begin, end)) == (not begin <= place < end)


def test_the_order_and_the_cuts_of_parts_count() -> None:
    data = bytes(range(64))
    assert len({of(data, 0, 32, 32, 64), of(data, 32, 64, 0, 32), of(data, 0, 64), of(data, 0, 31, 31, 64), of(data)}) == 5
