"""`tes backup`: all topics of the product to files, and back."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError

from streams.cli.messages import print_error, print_message
from streams.cli.progress import progress_bar
from streams.errors import DependencyError
from streams.kafka.topics import TopicError
from streams.operations.backup.create import check_backup, create_backup, lost_records
from streams.operations.backup.files import FileError
from streams.operations.backup.manifest import BackupError
from streams.operations.backup.restore import restore_backup
from streams.operations.group import TopicContentError, WorkersRunningError
from streams.operations.progress import Progress
from streams.settings.worker import read_settings
from streams.visible import visible


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    for name, run, text in (
        ("create", _create, "back up every topic to a new folder, with the workers stopped"),
        ("check", _check, "verify every file against the manifest"),
        ("restore", _restore, "restore into empty topics"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("folder", type=Path, metavar="DIR")
        action.add_argument("--json", action="store_true", help="one JSON object on stdout")
        if name == "create":
            action.add_argument(
                "--live",
                action="store_true",
                help="while workers run; some outputs may be emitted again after a restore",
            )
        action.set_defaults(run=lambda arguments, run=run: _run(arguments, run))


def _run(arguments: argparse.Namespace, action: Callable[[argparse.Namespace, Progress], dict[str, Any]]) -> int:
    """Exit code 0 done, 1 Kafka failed, workers run or the backup cannot be used, 2 wrong usage."""
    failures = (
        KafkaError,
        TopicError,
        DependencyError,
        BackupError,
        TopicContentError,
        WorkersRunningError,
        FileError,
        OSError,
    )
    try:
        with progress_bar() as progress:
            told = action(arguments, progress)
    except (*failures, ValueError) as error:
        print_error(f"tes backup {arguments.action}", error)
        return 1 if isinstance(error, failures) else 2
    if arguments.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            for key, item in value.items() if isinstance(value, dict) else [(name, value)]:
                print(f"{visible(str(key)):36} {visible(str(item))}")
    return 0


def _create(arguments: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    manifest = asyncio.run(create_backup(read_settings(), arguments.folder, arguments.live, progress))
    for lost in lost_records(manifest):
        print_message(f"tes backup create: {lost}")
    return _shown(manifest)


def _check(arguments: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    return _shown(check_backup(arguments.folder, progress))


def _shown(manifest: dict[str, Any]) -> dict[str, Any]:
    records = {name: sum(file["records"] for file in files) for name, files in manifest["topics"].items()}
    return {"created_at": manifest["created_at"], "is_live": manifest["is_live"], "records": records}


def _restore(arguments: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    settings = read_settings()
    restored = asyncio.run(restore_backup(settings, arguments.folder, progress))
    return {"partitions": len(restored.markers), "records": restored.records}
