"""`tes report`: what administrators see, kept in a database."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from streams.cli.messages import print_error, print_message
from streams.cli.progress import progress_bar
from streams.failpoints import failpoints
from streams.garbage import tune_gc
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS, TopicError
from streams.operations.progress import SILENT
from streams.settings.report import ReportSettings, read_report_settings
from streams.visible import visible
from streams.wire.registry import registry_of

if TYPE_CHECKING:
    from streams.database.database import Database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.set_defaults(run=_run)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    config = actions.add_parser("config", help="print every setting of the report, secrets redacted")
    config.add_argument("--json", action="store_true", help="one JSON object on stdout")
    config.set_defaults(run=_config)
    rebuild = actions.add_parser("rebuild", help="read the topics into fresh tables beside the old ones, then switch")
    rebuild.set_defaults(run=_rebuild)
    check = actions.add_parser("check", help="compare the tables with the topics, row by row")
    check.add_argument("--limit", type=int, default=20, metavar="N", help="differences to show (%(default)s)")
    check.set_defaults(run=_check)
    migrate = actions.add_parser("migrate", help="make the tables, or bring them up to date; the process does so too")
    migrate.set_defaults(run=_migrate)


def _settings() -> ReportSettings | None:
    try:
        return read_report_settings()
    except ValueError as error:
        print_error("tes report", error)
        return None


def _run(_: argparse.Namespace) -> int:
    from streams.report.process import run_report  # SQLAlchemy takes a while, and only this command needs it

    settings = _settings()
    return 2 if settings is None else run_report(settings)


def _config(arguments: argparse.Namespace) -> int:
    settings = _settings()
    if settings is None:
        return 2
    shown = settings.shown()
    if arguments.json:
        print(json.dumps(shown))
    else:
        for variable, value in shown.items():
            print(f"{variable:30} {visible(str(value))}")
    return 0


def _migrate(_: argparse.Namespace) -> int:
    def work(_: ReportSettings, database: Database) -> int:
        database.migrate()
        return 0

    return _with_database("migrate", work)


def _rebuild(_: argparse.Namespace) -> int:
    def work(settings: ReportSettings, database: Database) -> int:
        from streams.report.rebuild import rebuild

        tune_gc()
        with progress_bar() as progress:
            done = asyncio.run(
                rebuild(
                    cluster_of(settings),
                    registry_of(settings),
                    database,
                    topic=lambda name: settings.topic(TOPICS[name]),
                    say=lambda line: print_message(f"tes report rebuild: {line}"),
                    failpoint=failpoints(settings.crash_at),
                    progress=None if progress is SILENT else progress,
                )
            )
        print_message(
            f"tes report rebuild: {done.records:,} records read, {done.unreadable:,} of them unreadable; history of "
            f"{done.carried:,} servers carried over, {done.forgotten:,} of which the topics do not know any more"
        )
        return 0

    return _with_database("rebuild", work)


def _check(arguments: argparse.Namespace) -> int:
    def work(settings: ReportSettings, database: Database) -> int:
        from streams.report.comparing import compare

        with progress_bar() as progress:
            comparing = compare(
                cluster_of(settings),
                registry_of(settings),
                database,
                topic=lambda name: settings.topic(TOPICS[name]),
                progress=progress,
            )
            found = asyncio.run(comparing)
        for one in found.differences[: max(0, arguments.limit)]:
            print(visible(f"{one.table} {'/'.join(one.key)}: {one.what}"))
        print_message(
            f"tes report check: {found.rows:,} rows compared, {len(found.differences):,} differ, "
            f"{found.unreadable:,} records were unreadable"
        )
        return 1 if found.differences else 0

    return _with_database("check", work)


def _with_database(action: str, work: Callable[[ReportSettings, Database], int]) -> int:
    from sqlalchemy.exc import SQLAlchemyError

    from streams.database.database import DatabaseError
    from streams.report.store.opening import open_database

    settings = _settings()
    if settings is None:
        return 2
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        with closing(open_database(settings)) as database:
            return work(settings, database)
    except (DatabaseError, SQLAlchemyError, KafkaError, TopicError, OSError, ValueError) as error:
        print_error(f"tes report {action}", getattr(error, "orig", None) or error)
        return 1
