"""The partition of a key, against the client's own partitioner."""

from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as reference
from hypothesis import example, given
from hypothesis import strategies as st

from streams.kafka.partitioner import kafka_partition, murmur2


@given(st.binary(max_size=80))
@example(b"")
@example(b"\xff" * 7)
@example(b"contoso/mx1.contoso.com")
def test_a_key_hashes_as_the_client_has_it(key: bytes) -> None:
    assert murmur2(key) == reference(key) & 0xFFFFFFFF


@given(st.binary(max_size=40), st.integers(1, 500))
def test_a_key_is_in_the_partition_where_the_client_puts_it(key: bytes, partitions: int) -> None:
    every = list(range(partitions))
    assert kafka_partition(key, partitions) == DefaultPartitioner()(key, every, every)
