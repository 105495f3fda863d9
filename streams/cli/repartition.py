"""`tes repartition`: move a stopped service to topics with another number of partitions."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import replace

from aiokafka.errors import KafkaError

from streams.cli.messages import print_error
from streams.cli.progress import progress_bar
from streams.errors import DependencyError
from streams.failpoints import failpoints
from streams.kafka.topics import TOPICS, TopicError
from streams.operations.group import TopicContentError, WorkersRunningError
from streams.operations.repartition.run import Repartitioned, ledger_of, repartition
from streams.settings.worker import Settings, read_settings
from streams.wire.fast_headers import fast_headers
from streams.wire.registry import registry_of
from streams.worker.processor import InputProcessor
from streams.worker.wiring import record_channels, replay_end, rulebook_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.add_argument("--partitions", type=int, required=True, metavar="N", help="partition count of the new topics")
    parser.add_argument("--to-prefix", required=True, metavar="PREFIX", help="prefix of the new topics' names")
    parser.add_argument(
        "--to-app-id", metavar="ID", help="application id that the workers continue under (default: the same)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 moved and verified, 1 Kafka failed, workers run or something does not fit, 2 wrong usage."""
    failures = (KafkaError, TopicError, DependencyError, TopicContentError, WorkersRunningError, OSError)
    try:
        source = read_settings()
        target = replace(
            source,
            partitions=arguments.partitions,
            topic_prefix=arguments.to_prefix,
            app_id=arguments.to_app_id or source.app_id,
        )
        reached = failpoints(source.crash_at)
        with progress_bar() as progress:
            moved = asyncio.run(repartition(source, target, _processor(source).timestamp_of, reached, progress))
    except (*failures, ValueError) as error:
        print_error("tes repartition", error)
        return 1 if isinstance(error, failures) else 2
    _print(arguments, moved)
    return 0


def _processor(settings: Settings) -> InputProcessor:
    """What tells when a record happened, as a worker has it."""
    rulebook = rulebook_of(settings)
    return InputProcessor(
        lambda: rulebook, record_channels(settings), fast_headers(registry_of(settings)), replay_end(settings)
    )


def _print(arguments: argparse.Namespace, moved: Repartitioned) -> None:
    target = moved.target
    environment = {
        "TES_TOPIC_PREFIX": target.topic_prefix,
        "TES_APP_ID": target.app_id,
        "TES_PARTITIONS": str(target.partitions),
    }
    if arguments.json:
        print(json.dumps({"verified": moved.records, "was_finished": not moved.is_new, "environment": environment}))
        return
    if moved.is_new:
        for name, records in moved.records.items():
            print(f"{name:36} {records} verified")
    else:
        print("an earlier run moved and verified everything; input received since has now been moved")
    print("\nswitch over, in this order:")
    print(f"  1. producers: {target.topic(TOPICS['inbound_connection'])}, {target.topic(TOPICS['admin_command'])}")
    print("  2. this command again, if producers wrote to the old topics in the meantime")
    print(f"  3. workers and `tes`: {' '.join(f'{name}={value}' for name, value in environment.items())}")
    print(f"  4. edges and other consumers: the topics that begin with {target.topic_prefix!r}")
    print(f"  5. delete, when you are sure: {' '.join([*moved.old_topics, ledger_of(target)])}")
