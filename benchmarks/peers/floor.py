"""The floor: what the first steps cost alone. No output, no durable state, no guarantee.

`steps` is `consume`, `decode` or `job`; `client` is `aiokafka` or `librdkafka`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from benchmarks.peers import job

BATCH = 2_000


class Floor:
    """Takes batches of values through the first steps."""

    def __init__(self, steps: str) -> None:
        self._steps = steps
        self._states: dict[str, list[Any]] = {}
        self.changes = 0

    def take(self, values: Iterable[bytes]) -> None:
        """Process one batch."""
        if self._steps == "consume":
            for _ in values:
                pass
        elif self._steps == "decode":
            for value in values:
                job.decode(value)
        else:
            states = self._states
            for value in values:
                connection = job.decode(value)
                key = job.key_of(connection)
                states[key], has_changed = job.apply(states.get(key), connection)
                self.changes += has_changed

    def totals(self) -> str:
        """What the race checks."""
        return f"TOTALS {self.changes} {sum(state[2] for state in self._states.values())}"


async def consume_aiokafka(arguments: job.Arguments, floor: Floor) -> None:
    """Consume with the client that the product uses."""
    from aiokafka import AIOKafkaConsumer  # absent from the environment of the other clients

    consumer = AIOKafkaConsumer(
        arguments.topic,
        bootstrap_servers=arguments.bootstrap,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    left = arguments.total
    while left:
        for records in (await consumer.getmany(timeout_ms=200, max_records=BATCH)).values():
            arguments.progress.begin()
            floor.take(record.value for record in records)
            left -= len(records)
            arguments.progress.add(len(records))


def consume_librdkafka(arguments: job.Arguments, floor: Floor) -> None:
    """Consume with the client that the C library drives."""
    from confluent_kafka import Consumer  # absent from the product's environment

    consumer = Consumer(
        {
            "bootstrap.servers": arguments.bootstrap,
            "group.id": arguments.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([arguments.topic])
    left = arguments.total
    while left:
        messages = consumer.consume(BATCH, 1.0)
        if messages:
            arguments.progress.begin()
            floor.take(message.value() for message in messages)
            left -= len(messages)
            arguments.progress.add(len(messages))


def main() -> None:
    """Consume the feed once."""
    arguments = job.Arguments()
    floor = Floor(arguments.options["steps"])
    if arguments.options["client"] == "aiokafka":
        asyncio.run(consume_aiokafka(arguments, floor))
    else:
        consume_librdkafka(arguments, floor)
    print(floor.totals(), flush=True)
    arguments.progress.end()


if __name__ == "__main__":
    main()
