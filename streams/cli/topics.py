"""`tes topics`: the Kafka topics of the product."""

from __future__ import annotations

import argparse
import asyncio

from aiokafka.errors import KafkaError

from streams.cli.checked_settings import checked
from streams.cli.messages import print_error, print_message
from streams.cli.options import EXIT_REFUSED
from streams.kafka.provisioning import Difference, compare_topics, create_topics
from streams.kafka.topics import TopicError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    create = parser.add_subparsers(dest="action", required=True).add_parser(
        "create",
        help="create missing topics, and report how existing ones differ",
        description="Create missing topics and print their names on stdout. Existing topics are never changed: "
        "differences from the expected configuration go to stderr.",
        epilog="exit codes: 0 all topics exist; 1 Kafka failed; 2 invalid settings; 3 a topic has the wrong partition "
        "count or cleanup.policy, and no worker should start on it",
    )
    create.set_defaults(run=_create)


def _create(_: argparse.Namespace) -> int:
    settings = checked()
    if settings is None:
        return 2

    async def create() -> tuple[list[str], list[Difference]]:
        created = await create_topics(settings)
        return created, await compare_topics(settings, frozenset(created))

    try:
        created, differences = asyncio.run(create())
    except (TopicError, KafkaError) as error:
        print_error(f"tes topics create: {settings.bootstrap}", error)
        return 1
    for name in created:
        print(name)
    for difference in differences:
        print_message(f"tes topics create: {difference}")
    return EXIT_REFUSED if any(difference.is_serious for difference in differences) else 0
