"""`tes worker`, `tes topics`, `tes config`: the service itself."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from aiokafka.errors import KafkaError

from streams.cli.commands import EXIT_REFUSED
from streams.cli.messages import print_error, print_message
from streams.kafka.provisioning import Difference, compare_topics, create_topics
from streams.kafka.security import cluster_of, file_faults
from streams.kafka.topics import TopicError
from streams.policies.files import read_policy
from streams.settings.worker import Settings, SettingsError, inspect_settings, read_settings
from streams.visible import visible
from streams.worker.app import run_worker
from streams.worker.wiring import rulebook_of


def add_parser(commands: Any) -> None:
    """Add the commands to `tes`."""
    worker = commands.add_parser("worker", help="run a worker; settings come from the environment")
    worker.set_defaults(run=_worker)
    topics = commands.add_parser("topics", help="the Kafka topics of the product")
    create = topics.add_subparsers(dest="action", required=True).add_parser(
        "create",
        help="create missing topics, and report how existing ones differ",
        description="Create missing topics and print their names on stdout. Existing topics are never changed: "
        "differences from the expected configuration go to stderr.",
        epilog="exit codes: 0 all topics exist; 1 Kafka failed; 2 invalid settings; 3 a topic has the wrong partition "
        "count or cleanup.policy, and no worker should start on it",
    )
    create.set_defaults(run=_create)
    config = commands.add_parser("config", help="show or validate the settings")
    actions = config.add_subparsers(dest="action", required=True)
    for name, text in (
        ("show", "print every setting, secrets redacted"),
        ("check", "validate the settings as a worker does at start"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--json", action="store_true", help="one JSON object on stdout")
        action.set_defaults(run=_config)


def _read_checked() -> Settings:
    """The settings, with the policies and files that they name looked at too.

    Raises:
        SettingsError: names everything that is wrong, at once.
    """
    settings, errors = inspect_settings()
    named = {line.partition(":")[0] for line in errors}
    errors += [line for line in file_faults(settings) if line.partition(":")[0] not in named]
    policies = list[str]()
    for name in settings.policies:
        try:
            read_policy(name)
        except (ValueError, OSError) as error:
            policies.append(f"TES_POLICY: {error}")
    if not (errors or policies):
        try:
            rulebook_of(settings)
        except ValueError as error:
            policies.append(f"TES_POLICY: {error}")
    if errors or policies:
        raise SettingsError(*errors, *policies)
    return settings


def _checked() -> Settings | None:
    try:
        return _read_checked()
    except ValueError as error:
        print_error("tes", error)
        return None


def _worker(_: argparse.Namespace) -> int:
    settings = _checked()
    return 2 if settings is None else run_worker(settings)


def _create(_: argparse.Namespace) -> int:
    settings = _checked()
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
        settings = _read_checked() if arguments.action == "check" else read_settings()
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
    shown = settings.shown()
    if arguments.json:
        print(json.dumps(shown))
    else:
        for variable, value in shown.items():
            print(f"{variable:30} {visible(','.join(value) if isinstance(value, tuple) else str(value))}")
    return code
