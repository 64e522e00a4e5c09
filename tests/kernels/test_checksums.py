"""The checksum is XXH64 of each part, mixed in sequence, and depends on every bit; CRC-32C is the published one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import sabot_sql.executor.kernel_cache  # noqa: F401  (kernels are kept between runs)
from sabot_sql.executor.kernels.checksums import CRC32C_TABLES, POLYNOMIAL, checksum, crc32c
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


def crc_of(data: bytes) -> int:
    return int(crc32c(np.frombuffer(data, np.uint8), CRC32C_TABLES))


def naive_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# RFC 3720, B.4, and the check value of the catalogue of CRCs
PUBLISHED = {
    b"123456789": 0xE3069283,
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(range(31, -1, -1)): 0x113FDB5C,
}


def test_crc32c_is_the_published_one() -> None:
    assert {data: crc_of(data) for data in PUBLISHED} == PUBLISHED


@given(st.binary(min_size=1, max_size=100))
def test_crc32c_is_that_of_its_definition(data: bytes) -> None:
    assert crc_of(data) == naive_crc32c(data)
