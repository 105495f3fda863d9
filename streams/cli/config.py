"""`tes config`: the settings in force."""

from __future__ import annotations

import argparse
import asyncio

from aiokafka.errors import KafkaError

from streams.cli.checked_settings import read_checked
from streams.cli.columns import print_settings
from streams.cli.messages import print_error, print_message
from streams.kafka.security import cluster_of
from streams.settings.worker import Settings, read_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("show", "print every setting, secrets redacted"),
        ("check", "validate the settings as a worker does at start"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--json", action="store_true", help="one JSON object on stdout")
        action.set_defaults(run=_config)


async def _ask(settings: Settings) -> None:
    """Be let in by the brokers.

    Raises:
        KafkaError: they do not answer, or let nobody in with these settings.
    """
    admin = cluster_of(settings).admin()
    await admin.start()
    await admin.close()


def _config(arguments: argparse.Namespace) -> int:
    try:
        settings = read_checked() if arguments.action == "check" else read_settings()
    except ValueError as error:
        print_error(f"tes config {arguments.action}", error)
        return 2
    code = 0
    if arguments.action == "check":
        try:
            asyncio.run(_ask(settings))
        except (KafkaError, OSError) as error:
            print_error("tes config check: TES_KAFKA_BOOTSTRAP", error)
            code = 1
        else:
            print_message(f"tes config check: TES_KAFKA_BOOTSTRAP: {settings.bootstrap}: answers")
    print_settings(settings, as_json=arguments.json)
    return code
