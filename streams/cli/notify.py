"""`tes notify`: tells people what enforcement does, and proves it."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from streams.cli.messages import print_error
from streams.domain.time import iso
from streams.settings.notify import NotifySettings, read_notify_settings
from streams.visible import visible

if TYPE_CHECKING:
    from streams.database.database import Database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.set_defaults(run=_run)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    config = actions.add_parser("config", help="print every setting of notify, secrets redacted")
    config.add_argument("--json", action="store_true", help="one JSON object on stdout")
    config.set_defaults(run=_config)
    migrate = actions.add_parser("migrate", help="make the tables, or bring them up to date; the process does so too")
    migrate.set_defaults(run=_migrate)
    shown = actions.add_parser("log", help="what became of notices, newest first")
    shown.add_argument("--notification", metavar="ID", help="only of this one, with each attempt")
    shown.add_argument("--destination", metavar="ID", help="only at this one")
    shown.add_argument("--limit", type=int, default=50, metavar="N", help="how many, up to 1000 (%(default)s)")
    shown.add_argument("--json", action="store_true", help="one JSON object a line")
    shown.set_defaults(run=_log)


def _settings() -> NotifySettings | None:
    try:
        return read_notify_settings()
    except ValueError as error:
        print_error("tes notify", error)
        return None


def _run(_: argparse.Namespace) -> int:
    from streams.notify.process import run_notify  # SQLAlchemy takes a while, and only this command needs it

    settings = _settings()
    return 2 if settings is None else run_notify(settings)


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
    def work(database: Database) -> int:
        database.migrate()
        return 0

    return _with_ledger("migrate", work)


def _log(arguments: argparse.Namespace) -> int:
    def work(database: Database) -> int:
        from streams.database.database import ALL_TENANTS
        from streams.notices.history import attempts_of, deliveries

        with database.reading(ALL_TENANTS) as connection:
            rows, _ = deliveries(
                connection,
                ALL_TENANTS,
                notification_id=arguments.notification,
                destination_id=arguments.destination,
                limit=arguments.limit,
            )
            for row in rows:
                tried = []
                if arguments.notification and row.message_id:
                    tried = attempts_of(connection, ALL_TENANTS, row.message_id)
                if arguments.json:
                    print(json.dumps(row._asdict() | {"tried": [one._asdict() for one in tried]}))
                    continue
                print(visible(_line(row)))
                for one in tried:
                    answer = " ".join(filter(None, (one.outcome, str(one.code or ""), one.why)))
                    print(visible(f"    {iso(one.at)} attempt {one.number}: {answer}"))
        return 0

    return _with_ledger("log", work)


def _line(row: Any) -> str:
    parts = (
        iso(row.routed_at),
        row.state,
        row.destination_kind,
        row.destination_name,
        f"{row.tenant_id}/{row.destination_id}",
        row.severity,
        row.record["kind"],
        row.record.get("server") or "",
        row.notification_id,
        row.why or row.last_why or "",
    )
    return "  ".join(part for part in parts if part)


def _with_ledger(action: str, work: Callable[[Database], int]) -> int:
    from sqlalchemy.exc import SQLAlchemyError

    from streams.database.database import DatabaseError
    from streams.notices.opening import open_ledger

    settings = _settings()
    if settings is None:
        return 2
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        with closing(open_ledger(settings)) as database:
            return work(database)
    except (DatabaseError, SQLAlchemyError, OSError, ValueError) as error:
        print_error(f"tes notify {action}", getattr(error, "orig", None) or error)
        return 1
