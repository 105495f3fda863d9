"""`tes notify`: tells people what enforcement does, and proves it."""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from streams.cli.forms import add_forms, print_json
from streams.cli.messages import print_error
from streams.clock import wall_clock_ms
from streams.domain.time import iso
from streams.settings.notify import NotifySettings, read_notify_settings
from streams.visible import visible

if TYPE_CHECKING:
    from streams.database.database import Database

_LOOK_SECONDS = 0.2


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
    add_forms(shown)
    shown.set_defaults(run=_log)
    tested = actions.add_parser("test", help="have a test sent to a destination, and print how it went")
    tested.add_argument("destination", metavar="DESTINATION", help="its id")
    tested.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="how long to wait for the process (%(default)g)"
    )
    tested.set_defaults(run=_test)


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
            tried = [
                attempts_of(connection, ALL_TENANTS, row.message_id)
                if arguments.notification and row.message_id
                else []
                for row in rows
            ]
            documents = (
                row._asdict() | {"tried": [one._asdict() for one in attempts]}
                for row, attempts in zip(rows, tried, strict=True)
            )
            if print_json(arguments, documents):
                return 0
            for row, attempts in zip(rows, tried, strict=True):
                print(visible(_line(row)))
                for one in attempts:
                    answer = " ".join(filter(None, (one.outcome, str(one.code or ""), one.why)))
                    print(visible(f"    {iso(one.at)} attempt {one.number}: {answer}"))
        return 0

    return _with_ledger("log", work)


def _test(arguments: argparse.Namespace) -> int:
    def work(database: Database) -> int:
        from streams.database.database import ALL_TENANTS
        from streams.notices.destinations import LimitError, UnknownDestinationError, find_destinations
        from streams.notices.masking import shown_address
        from streams.notices.messages import find_message, request_test
        from streams.notices.model import OutcomeKind

        wanted = arguments.destination
        with database.reading(ALL_TENANTS) as connection:
            found = find_destinations(connection, [wanted]).get(wanted)
        if found is None:
            print_error("tes notify test", LookupError(f"destination: {wanted[:80]!r:.100}: unknown"))
            return 1
        try:
            with database.writing() as connection:
                message_id = request_test(connection, found.tenant_id, wanted, wall_clock_ms())
        except (UnknownDestinationError, LimitError) as error:
            print_error("tes notify test", error)
            return 1
        give_up_at = time.monotonic() + arguments.wait
        while True:
            with database.reading(ALL_TENANTS) as connection:
                message = find_message(connection, found.tenant_id, wanted, message_id)
            if message is None or message.ended_at is not None or time.monotonic() > give_up_at:
                break
            time.sleep(_LOOK_SECONDS)
        if message is None or message.last_outcome is None:
            why = f"nothing was sent yet: `tes notify` must run, and have a channel for {found.kind}"
            print_error("tes notify test", TimeoutError(why))
            return 1
        answer = filter(None, (message.last_outcome, str(message.last_code or ""), message.last_why))
        print(visible(f"{message_id} {found.kind} {shown_address(found)}: {' '.join(answer)}"))
        return 0 if message.last_outcome == OutcomeKind.DELIVERED else 1

    return _with_ledger("test", work)


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
