"""What a coordinator says of a transaction."""

from __future__ import annotations

import asyncio

from aiokafka.client import CoordinationType

from streams.kafka.cluster import Client
from streams.kafka.transactional.messages import DescribeTransactionsRequest


async def transaction_state(client: Client, transactional_id: str) -> str:
    """The state of the last transaction of an id."""
    node = await client.coordinator_lookup(CoordinationType.TRANSACTION, transactional_id)
    (described,) = (await client.send(node, DescribeTransactionsRequest(transactional_id))).transactions
    return str(described[2])


async def until_complete(client: Client, transactional_id: str) -> None:
    """Wait for its end in all partitions: until then, its end would be that of whatever follows there too."""
    while not (await transaction_state(client, transactional_id)).startswith("Complete"):
        await asyncio.sleep(0.02)
