"""A ledger of notices with a past: destinations in every state, and what became of notices there."""

from __future__ import annotations

from typing import Any, Final

import orjson
from sqlalchemy import insert

from streams.database.database import Database
from streams.domain.time import DAY_MS, HOUR_MS
from streams.notices.facts import begin
from streams.notices.model import (
    OPERATORS,
    Destination,
    DestinationKind,
    DestinationState,
    Digest,
    Form,
    Origin,
    Subscription,
)
from streams.notices.opening import open_ledger
from streams.notices.tables import ATTEMPT, DELIVERY, DESTINATION, LANE, MESSAGE, NEVER, NOTICE, SUBSCRIPTION
from streams.settings.database import DatabaseSettings
from tests.support.notices import START
from tests.support.report import notification_record

TOKEN: Final = "T0ken-of-the-hook"
"""What nobody may be shown of a webhook's address."""
SECRET: Final = "whsec_c2VjcmV0LW9mLXRoZS1ob29rLWZvci10ZXN0cw=="
MAIL: Final = Destination(
    "contoso",
    "d-mail",
    DestinationKind.MAIL,
    "Mail admins",
    "admins@contoso.example",
    Origin.TENANT,
    DestinationState.ACTIVE,
    language="de",
    zone="Europe/Berlin",
    created_at=START,
    created_by="Ada Admin",
    confirmed_at=START + HOUR_MS,
)
HOOK: Final = MAIL._replace(
    destination_id="d-hook",
    kind=DestinationKind.WEBHOOK,
    name="Ticket system",
    address=f"https://tickets.contoso.example/hook/{TOKEN}",
    state=DestinationState.PARKED,
    secret=SECRET,
    language="en",
    zone="UTC",
    parked_at=START + 5 * DAY_MS,
    parked_why="410 Gone",
)
ASKED: Final = MAIL._replace(
    destination_id="d-asked",
    name="Night <shift>",
    address="night@contoso.example",
    state=DestinationState.UNCONFIRMED,
    confirmed_at=None,
)
CONTACT: Final = MAIL._replace(
    destination_id="d-contact", name="ops@contoso.example", address="ops@contoso.example", origin=Origin.CONNECTOR
)
OTHERS: Final = HOOK._replace(
    tenant_id="fabrikam",
    destination_id="d-fabrikam",
    name="Hook of fabrikam",
    address=f"https://hooks.fabrikam.example/{TOKEN}",
    state=DestinationState.ACTIVE,
)
OWN: Final = MAIL._replace(
    tenant_id=OPERATORS,
    destination_id="d-operators",
    name="Operators",
    address="noc@operator.example",
    origin=Origin.OPERATOR,
)
NOTICES: Final = 60
"""Of contoso, each to the mailbox; the last of them waits at the webhook too."""


def put_destination(database: Database, destination: Destination) -> None:
    """A destination as it is, with its lane."""
    lane = {
        "tenant_id": destination.tenant_id,
        "destination_id": destination.destination_id,
        "kind": destination.kind,
        "due_at": NEVER,
        "grouped": 0,
        "lease_until": 0,
        "fence": 0,
        "failures": 0,
    }
    with database.writing() as connection:
        connection.execute(insert(DESTINATION).values(**destination._asdict(), challenge="", challenge_until=0))
        connection.execute(insert(LANE).values(**lane))


def put_subscription(database: Database, subscription: Subscription) -> None:
    """A subscription as it is."""
    kinds = None if subscription.kinds is None else ",".join(subscription.kinds)
    changes = {"kinds": kinds, "is_quiet_for_critical": int(subscription.is_quiet_for_critical), "created_at": START}
    with database.writing() as connection:
        connection.execute(insert(SUBSCRIPTION).values(**subscription._asdict() | changes))


def put_message(database: Database, destination: Destination, message_id: str, **changes: Any) -> None:
    """A message to a destination; unless changed, one that was sent."""
    values = {
        "tenant_id": destination.tenant_id,
        "message_id": message_id,
        "destination_id": destination.destination_id,
        "form": Form.SINGLE,
        "state": "SENT",
        "notices": 1,
        "made_at": START + DAY_MS,
        "attempts": 1,
        "next_attempt_at": START + DAY_MS,
        "last_code": 250,
        "last_outcome": "DELIVERED",
        "last_why": "2.0.0 Ok: queued",
        "ended_at": START + DAY_MS + 400,
    }
    with database.writing() as connection:
        connection.execute(insert(MESSAGE).values(**values | changes))


def put_attempt(database: Database, destination: Destination, message_id: str, number: int, **changes: Any) -> None:
    """An attempt of a message; unless changed, one that failed."""
    at = START + DAY_MS + number * HOUR_MS
    values = {
        "tenant_id": destination.tenant_id,
        "message_id": message_id,
        "number": number,
        "at": at,
        "ended_at": at + 300,
        "outcome": "FAILED",
        "code": 503,
        "why": "Service <Unavailable>",
    }
    with database.writing() as connection:
        connection.execute(insert(ATTEMPT).values(**values | changes))


def put_delivery(
    database: Database, destination: Destination, record: dict[str, Any], message_id: str | None, **changes: Any
) -> None:
    """What became of a notice at a destination; unless changed, it was sent."""
    at = record["occurred_at"]
    values = {
        "tenant_id": destination.tenant_id,
        "destination_id": destination.destination_id,
        "notification_id": record["notification_id"],
        "notice_tenant": record["tenant_id"],
        "subscription_id": "",
        "state": "SENT",
        "severity": record["severity"],
        "is_together": 0,
        "routed_at": at,
        "due_at": at,
        "message_id": message_id,
        "ended_at": at + 400,
    }
    with database.writing() as connection:
        connection.execute(insert(DELIVERY).values(**values | changes))


def put_notice(database: Database, record: dict[str, Any]) -> None:
    """A notice that was read."""
    values = {
        **{name: record.get(name) for name in ("tenant_id", "notification_id", "kind", "severity", "server", "stage")},
        "occurred_at": record["occurred_at"],
        "written_at": record["occurred_at"],
        "deliveries": 1,
        "partition": 0,
        "source_offset": 0,
        "detail": orjson.dumps(record).decode(),
    }
    with database.writing() as connection:
        connection.execute(insert(NOTICE).values(**values))


def made_ledger(settings: DatabaseSettings) -> Database:
    """A filled ledger where settings say, which began at `START`."""
    opened = open_ledger(settings)
    opened.migrate()
    begin(opened, START)
    fill_ledger(opened)
    return opened


def fill_ledger(database: Database) -> None:
    """Destinations of contoso in every state, one of fabrikam and one of operators, and what became of notices."""
    for one in (MAIL, HOOK, ASKED, CONTACT, OTHERS, OWN):
        put_destination(database, one)
    daily = Subscription("contoso", "s-mail", MAIL.destination_id, digest=Digest.DAILY)
    put_subscription(database, daily._replace(quiet_from=22 * 60, quiet_to=6 * 60))
    kinds = ("STAGE_ENTERED", "STAGE_UPCOMING")
    some = Subscription("contoso", "s-hook", HOOK.destination_id, kinds, "WARNING", "mx*.contoso.com")
    put_subscription(database, some)
    put_subscription(database, Subscription("fabrikam", "s-fabrikam", OTHERS.destination_id))
    put_subscription(database, Subscription(OPERATORS, "s-operators", OWN.destination_id))
    for number in range(NOTICES):
        record = notification_record(number)
        put_notice(database, record)
        put_message(database, MAIL, f"msg_mail{number}", made_at=START + number)
        put_delivery(database, MAIL, record, f"msg_mail{number}")
    failing = {"state": "OPEN", "attempts": 2, "last_code": 503, "last_outcome": "FAILED", "ended_at": None}
    put_message(database, HOOK, "msg_hook", **failing, last_why="Service <Unavailable>")
    put_delivery(database, HOOK, notification_record(NOTICES - 1), "msg_hook", state="PACKED", ended_at=None)
    for number in (1, 2):
        put_attempt(database, HOOK, "msg_hook", number)
    theirs = notification_record(500, tenant_id="fabrikam", server="mx1.fabrikam.com")
    put_notice(database, theirs)
    put_message(database, OTHERS, "msg_fabrikam")
    put_attempt(database, OTHERS, "msg_fabrikam", 1, outcome="DELIVERED", code=204, why="fabrikam took it")
    put_delivery(database, OTHERS, theirs, "msg_fabrikam")
    put_delivery(database, OWN, theirs, None, state="EXPIRED", why="older than 7 days")
