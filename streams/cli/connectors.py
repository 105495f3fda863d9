"""`tes connectors`: whose mail comes in at the edges: check a file, publish it for a fleet, list what is published."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from aiokafka.errors import KafkaError

from streams.cli.columns import print_columns
from streams.cli.forms import add_forms, print_json
from streams.cli.messages import print_error, print_message
from streams.cli.options import ISSUER_HELP, operator
from streams.clock import wall_clock_ms
from streams.domain.time import iso
from streams.edge.connectors.files import read_connectors
from streams.edge.connectors.topic import connector_topic_of, publish_connectors, read_published_connectors
from streams.kafka.topics import TopicError
from streams.settings.worker import read_settings
from streams.visible import visible
from streams.wire.records import to_json

_HEADINGS = ("TENANT", "CONNECTOR", "TYPE", "TLS SUBJECTS", "FINGERPRINTS", "CIDRS", "CONTACTS", "PUBLISHED", "BY")
_SHOWN_VALUES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser("check", help="validate a file of connectors and report all errors")
    check.add_argument("file", metavar="FILE")
    check.set_defaults(run=_check)
    publishing = actions.add_parser("publish", help="publish a file as the whole set of a fleet's connectors")
    publishing.add_argument("file", metavar="FILE")
    publishing.add_argument("--by", default=operator(), metavar="NAME", help=ISSUER_HELP)
    publishing.set_defaults(run=_publish)
    listing = actions.add_parser("list", help="the published connectors")
    add_forms(listing)
    listing.set_defaults(run=_list)


def _refused(action: str, error: Exception) -> int:
    print_error(f"tes connectors {action}", error)
    return 1 if isinstance(error, (KafkaError, TopicError)) else 2


def _check(arguments: argparse.Namespace) -> int:
    try:
        entries = read_connectors(Path(arguments.file))
    except ValueError as error:
        return _refused("check", error)
    print(f"{visible(arguments.file)}: valid, connectors: {len(entries)}")
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    try:
        settings = read_settings()
        entries = read_connectors(Path(arguments.file))
        publication = publish_connectors(
            connector_topic_of(settings),
            settings.app_id,
            entries,
            wall_clock_ms(),
            arguments.by,
            arguments.file,
        )
        done = asyncio.run(publication)
    except (ValueError, OSError, KafkaError, TopicError) as error:
        return _refused("publish", error)
    for name in done.removed:
        print_message(f"tes connectors publish: {name}: is no longer published")
    print(f"connectors: {done.written} published, {len(done.removed)} removed")
    return 0


def _few(values: list[str]) -> str:
    """Some values; `--json` has all."""
    more = len(values) - _SHOWN_VALUES
    return (", ".join(values[:_SHOWN_VALUES]) + (f" and {more} more" if more > 0 else "")) or "-"


def _list(arguments: argparse.Namespace) -> int:
    try:
        records = asyncio.run(read_published_connectors(connector_topic_of(read_settings())))
    except (ValueError, OSError, KafkaError, TopicError) as error:
        return _refused("list", error)
    if print_json(arguments, to_json(records)):
        return 0
    rows = [
        [
            record["tenant_id"],
            record["connector_id"],
            record["type"],
            *(_few(record[name]) for name in ("tls_subjects", "tls_fingerprints", "cidrs", "contacts")),
            iso(record["published_at"]),
            record["published_by"],
        ]
        for record in records
    ]
    print_columns([list(_HEADINGS), *rows])
    return 0
