"""`tes doctor`: examines a running installation from end to end, and says what is wrong and where that is explained."""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict

from streams.cli.forms import add_forms, print_json
from streams.cli.messages import print_error
from streams.cli.options import EXIT_REFUSED
from streams.cli.schemas import INCOMPATIBLE, MISSING, look_up
from streams.clock import wall_clock_ms
from streams.operations.doctor.examination import Subject, examine
from streams.operations.doctor.findings import Finding, State, ok, problem, skipped, warning
from streams.settings.notify import read_notify_settings
from streams.settings.worker import Settings, read_settings
from streams.visible import visible
from streams.wire.registry import ConfluentRegistry, RegistryError, SchemaRegistry, registry_of
from streams.worker.wiring import rulebook_of

_REGISTRY_PAGE = "docs/how-to/managed-kafka.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.description = (
        "Look at brokers, rights, topics, what comes in, clocks, schemas, workers, lag, policy, catalogue, dead "
        "letters and undelivered notices. It reads, and changes nothing."
    )
    parser.epilog = "exit codes: 0 no problem, warnings at most; 2 invalid settings; 3 a problem was found"
    add_forms(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        settings = read_settings()
        rulebook_of(settings)
        registry = registry_of(settings)
    except (ValueError, OSError) as error:
        print_error("tes doctor", error)
        return 2
    found = list[Finding]()

    def tell(finding: Finding) -> None:
        found.append(finding)
        if not (arguments.json or arguments.jsonl):
            print(visible(_line(finding)), flush=True)

    async def work() -> None:
        subject = Subject(
            settings,
            registry,
            lambda published: rulebook_of(settings, published.policies, published.catalogues),
            wall_clock_ms,
        )
        async for finding in examine(subject):
            tell(finding)

    asyncio.run(work())
    for finding in (*_schemas(settings, registry), *_notices()):
        tell(finding)
    print_json(arguments, map(asdict, found))
    return EXIT_REFUSED if any(finding.state is State.PROBLEM for finding in found) else 0


def _line(finding: Finding) -> str:
    page = f" (see {finding.page})" if finding.page else ""
    return f"{finding.state:8} {finding.check}: {finding.text}{page}"


def _schemas(settings: Settings, registry: SchemaRegistry) -> Iterable[Finding]:
    if not isinstance(registry, ConfluentRegistry):
        yield ok("schemas", "those of the file that ships")
        return
    try:
        states = look_up(registry, settings.topic_prefix)
    except RegistryError as error:
        yield problem("schemas", f"the registry: {error}", _REGISTRY_PAGE)
        return
    bad = [one for one in states if one.state == INCOMPATIBLE]
    missing = [one.subject for one in states if one.state == MISSING]
    for one in bad:
        yield problem("schemas", f"the registry would refuse {one.subject}: {one.why}", _REGISTRY_PAGE)
    if missing:
        yield warning("schemas", f"not registered: {', '.join(missing)}: tes schemas register", _REGISTRY_PAGE)
    if not bad and not missing:
        yield ok("schemas", "all are registered")


def _notices() -> Iterable[Finding]:
    """What the ledger of notices holds; it belongs to a process that need not run, nor on this machine."""
    from sqlalchemy.exc import SQLAlchemyError

    from streams.database.database import DatabaseError
    from streams.notices.opening import open_ledger
    from streams.notify.upkeep import count

    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        settings = read_notify_settings()
        if not settings.database and not settings.database_file and not settings.folder.exists():
            yield skipped("notices", "no ledger on this machine, and TES_REPORT_DATABASE names none")
            return
        with closing(open_ledger(settings)) as database:
            held = count(database, wall_clock_ms())
    except (DatabaseError, SQLAlchemyError, OSError, ValueError) as error:
        yield skipped("notices", f"the ledger cannot be read: {getattr(error, 'orig', None) or error}")
        return
    bad = False
    if held.overdue:
        bad = True
        text = f"{held.overdue} critical ones are more than an hour late"
        yield problem("notices", text, "docs/runbooks/TesNotifyCriticalOverdue.md")
    if parked := sum(held.parked.values()):
        bad = True
        yield warning("notices", f"{parked} destinations are parked: they refused", "docs/runbooks/TesNotifyParked.md")
    if held.untold_tenants:
        bad = True
        text = f"{held.untold_tenants} tenants have notices that nobody was told"
        yield warning("notices", text, "docs/runbooks/TesNotifyUntold.md")
    if not bad:
        yield ok("notices", f"{sum(held.waiting.values())} wait, none is late")
