"""`tes replay`: a feed through Kafka and real workers, with the result files of `tes simulate`."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import uuid
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from aiokafka.errors import KafkaError

from streams.cli.catalogue import given_catalogues
from streams.cli.messages import print_error, print_message
from streams.cli.progress import count_lines, progress_bar
from streams.cli.simulate import add_options, feed_lines, scan, write_results
from streams.cli.times import TypedTime
from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.dev.java import EmbeddedKafkaError
from streams.domain.keys import ServerKey
from streams.kafka.provisioning import delete_topics, topics_of
from streams.kafka.security import cluster_of
from streams.kafka.topics import TopicError
from streams.operations.feeds import ReplayError, replay
from streams.settings.kafka import without_security
from streams.settings.worker import Settings, read_settings
from streams.wire.records import in_order_of_issue
from streams.worker.wiring import rulebook_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    add_options(parser)
    parser.add_argument(
        "--kafka", metavar="HOST:PORT", help="an existing cluster (default: an embedded Kafka for this run)"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="worker processes (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Replay under topics and a group of its own; exit code 1 when it fails, 2 for input that cannot be read."""
    out, run_id = Path(arguments.out), uuid.uuid4().hex[:8]
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tes-replay-")))
        try:
            settings = replace(
                read_settings(),
                app_id=f"tes-replay-{run_id}",
                topic_prefix=f"replay-{run_id}.",
                state_dir=str(scratch / "state"),
            )
            if arguments.policy:
                settings = replace(settings, policies=tuple(arguments.policy))
            rulebook_of(settings)
            catalogues = given_catalogues(arguments.catalogue)
            if arguments.kafka is not None:
                settings = replace(settings, bootstrap=arguments.kafka)
                cluster_of(settings)
            given = TypedTime.parse("--until", arguments.until) if arguments.until else None
            end = scan(Path(arguments.feed), arguments.commands)
            if fault := end.fault(given):
                print_message(f"tes replay: {fault}")
                return 2
            if warning := end.warning(given):
                print_message(f"tes replay: {warning}")
            until = end.default_until if given is None else given.at
            lines = feed_lines(Path(arguments.feed))
            commands = in_order_of_issue(feed_lines(Path(arguments.commands))) if arguments.commands else []
            out.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            print_error("tes replay", error)
            return 2
        try:
            if arguments.kafka is not None:
                stack.callback(_clean_up, settings)
            else:
                kafka = EmbeddedKafka(scratch / "kafka", jars_dir=ensure_jars())
                settings = replace(settings, **without_security(stack.enter_context(kafka).bootstrap))
            with (out / "worker.log").open("wb") as logs, progress_bar() as progress:
                progress.begin("connections", count_lines(Path(arguments.feed)))
                found = asyncio.run(
                    replay(settings, lines, until, arguments.workers, progress.reach, logs, commands, catalogues)
                )
        except (EmbeddedKafkaError, KafkaError, TopicError, ReplayError, OSError) as error:
            print_message(f"tes replay: {type(error).__name__}: {error}; see {out / 'worker.log'}")
            return 1
    rows = [found.servers[key] for key in sorted(found.servers, key=ServerKey.parse)]
    print_message(write_results(out, found.verdicts, found.notifications, rows, found.dead_letters, found.audit))
    return 0


def _clean_up(settings: Settings) -> None:
    """Delete the topics of this run, whose prefix no other has; with them the broker forgets the group."""
    try:
        asyncio.run(delete_topics(settings, [topic.name for topic in topics_of(settings)]))
    except (KafkaError, TopicError, OSError, KeyboardInterrupt) as error:
        said = f"topics that begin with {settings.topic_prefix!r} are left on {settings.bootstrap}: delete them"
        print_message(f"tes replay: {said} ({type(error).__name__}: {error})")
        if isinstance(error, KeyboardInterrupt):
            raise
