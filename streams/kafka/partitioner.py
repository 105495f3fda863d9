"""Which partition a key belongs to, as the default partitioner of Kafka's clients has it.

The client's own hash takes several microseconds of interpreted Python for a key, and a worker asks for one with each
connection and each record that it writes. This one is compiled; a test compares the two.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

_SEED: Final[i64] = 0x9747B28C
_FACTOR: Final[i64] = 0x5BD1E995
_LOW_32: Final[i64] = 0xFFFFFFFF
_POSITIVE: Final = 0x7FFFFFFF


def kafka_partition(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key, of so many."""
    return (murmur2(key) & _POSITIVE) % partitions


def murmur2(data: bytes) -> int:
    """MurmurHash2 with the seed of Kafka's Java client, as a number of 32 bits without a sign."""
    size: i64 = len(data)
    end: i64 = size & ~3
    state: i64 = _SEED ^ size
    at: i64 = 0
    while at < end:
        word: i64 = data[at] | data[at + 1] << 8 | data[at + 2] << 16 | data[at + 3] << 24
        word = _times_factor(word)
        state = _times_factor(state) ^ _times_factor(word ^ word >> 24)
        at += 4
    rest: i64 = size & 3
    if rest:
        if rest == 3:
            state ^= data[end + 2] << 16
        if rest >= 2:
            state ^= data[end + 1] << 8
        state = _times_factor(state ^ data[end])
    state = _times_factor(state ^ state >> 13)
    return state ^ state >> 15


def _times_factor(number: i64) -> i64:
    """The low 32 bits of a product, in two halves, so that 64 bits with a sign hold all of it."""
    high: i64 = (number >> 16) * _FACTOR << 16
    return (number & 0xFFFF) * _FACTOR + high & _LOW_32
