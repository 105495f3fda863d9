"""`tes verdicts`: the verdicts as workers write them."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any, Final

from aiokafka.errors import KafkaError

from streams.cli.columns import STYLES
from streams.cli.forms import LINES_HELP
from streams.cli.messages import print_error, print_message
from streams.cli.screen import output_console
from streams.domain.exchange.names import canonical_server
from streams.domain.time import iso
from streams.domain.validation import check_tenant
from streams.kafka.follower import KafkaLog, TopicFollower
from streams.kafka.reader import report_unread
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS, TopicError
from streams.kafka.unread import UnreadBatch
from streams.settings.worker import Settings, read_settings
from streams.visible import visible
from streams.wire.codec import AvroCodec
from streams.wire.records import to_json
from streams.wire.registry import RegistryError, registry_of

_LONGEST_LINE: Final = 300
"""Characters of a line that is piped; JSON has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    tail = actions.add_parser("tail", help="print verdicts as they are written, until Ctrl-C")
    tail.add_argument("--tenant", help="only this tenant")
    tail.add_argument("--server", help="only servers of this name")
    tail.add_argument(
        "--from-beginning", action="store_true", help="begin with what the topic holds (default: with the next verdict)"
    )
    tail.add_argument("--no-follow", action="store_true", help="end where the topic ends now")
    tail.add_argument("--jsonl", action="store_true", help=LINES_HELP)
    tail.set_defaults(run=_tail)


def _tail(arguments: argparse.Namespace) -> int:
    """Exit code 1 when Kafka fails, 2 for wrong usage, 130 after Ctrl-C."""
    try:
        if arguments.tenant is not None:
            check_tenant(arguments.tenant)
        asyncio.run(_follow(arguments, read_settings()))
    except (ValueError, OSError, KafkaError, TopicError, RegistryError) as error:
        print_error("tes verdicts tail", error)
        return 2 if isinstance(error, ValueError) else 1
    return 0


async def _follow(arguments: argparse.Namespace, settings: Settings) -> None:
    topic = settings.topic(TOPICS["verdict"])
    log = KafkaLog(cluster_of(settings), [topic], from_end=not arguments.from_beginning)
    follower, codec = TopicFollower(log), AvroCodec("verdict", registry_of(settings))
    server = None if arguments.server is None else canonical_server(arguments.server)
    await follower.start()
    try:
        if not arguments.no_follow and not arguments.jsonl:
            print_message(f"tes verdicts tail: following {topic}; Ctrl-C ends it")
        async for records in follower.read_to_end():
            _print(arguments, codec, server, records)
        while not arguments.no_follow:
            _print(arguments, codec, server, await follower.poll())
    finally:
        await follower.stop()


def _print(arguments: argparse.Namespace, codec: AvroCodec, server: str | None, records: Any) -> None:
    for record in records:
        if isinstance(record, UnreadBatch):
            report_unread(record)
            continue
        tenant_id, _, name = (record.key or b"").decode("utf-8", "replace").partition("/")
        if arguments.tenant not in (None, tenant_id) or server not in (None, name):
            continue
        try:
            verdict = None if record.value is None else codec.decode(record.value)
            at = iso(record.timestamp if verdict is None else verdict["issued_at"])
            row = None if verdict is None else to_json(verdict)
        except (ValueError, OverflowError) as error:  # a time may be one that no calendar has
            where = f"{record.topic}-{record.partition}: offset {record.offset}"
            print_message(visible(f"tes verdicts tail: {where}: is no verdict: {error}")[:_LONGEST_LINE])
            continue
        if not arguments.jsonl:
            _print_line(at, tenant_id, name, verdict)
        elif row is not None:
            print(json.dumps(row))
        else:
            print(json.dumps({"tenant_id": tenant_id, "server": name, "is_forgotten": True}))
    sys.stdout.flush()


def _print_line(at: str, tenant_id: str, name: str, verdict: dict[str, Any] | None) -> None:
    """Print a verdict; the time is that of its own moment, or of its record where it has none."""
    action, stage, said = "FORGOTTEN", "", "nothing is known of the server any more"
    if verdict is not None:
        action, stage = verdict["action"], f"{verdict['stage']:>2}"
        rates = [
            f"{name} {minutes} min/h"
            for name in ("throttle", "block")
            if (minutes := verdict[f"{name}_minutes_per_hour"])
        ]
        said = f"{', '.join(rates) or 'no limit'}: {verdict['reason']}"
    # What is of one width comes first: nothing need be padded for the longest name there is.
    head, tail = f"{at[:19]}Z  ", visible(f"  {stage:2}  {tenant_id}/{name}  {said}")
    console = output_console()
    if console is None:
        print(f"{head}{action:9}{tail}"[:_LONGEST_LINE])
        return
    from rich.text import Text

    line = Text.assemble(head, (f"{action:9}", STYLES.get(action, "")), tail)
    console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
