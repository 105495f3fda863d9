"""Changes of destinations and subscriptions, each with a line in the log that says who made it, and of what.

A line has nothing secret: of an address that is a URL only the host, of one of Apprise only the service, no secret at
all. It is written once the change is in the ledger.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import Connection

from streams.log_events import log_event
from streams.notices.masking import shown_address
from streams.notices.model import Destination, Subscription
from streams.report.access.callers import Caller
from streams.report.web.ledger import Ledger
from streams.report.web.notices import Owner

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Action(StrEnum):
    """What was done."""

    DESTINATION_ADDED = "destination_added"
    DESTINATION_CHANGED = "destination_changed"
    DESTINATION_ASKED = "destination_asked"
    DESTINATION_TESTED = "destination_tested"
    DESTINATION_UNPARKED = "destination_unparked"
    DESTINATION_REMOVED = "destination_removed"
    SECRET_RENEWED = "secret_renewed"
    SUBSCRIPTION_ADDED = "subscription_added"
    SUBSCRIPTION_CHANGED = "subscription_changed"
    SUBSCRIPTION_ENDED = "subscription_ended"


async def change_notices(
    ledger: Ledger,
    caller: Caller,
    owner: Owner,
    action: Action,
    change: Callable[[Connection], Answer],
    *,
    destination: str | None = None,
    subscription: str | None = None,
) -> Answer:
    """Change destinations or subscriptions of an owner, and say in the log who did; returns what the change gives.

    Args:
        ledger: where they are.
        caller: who asks.
        owner: whose they are.
        action: what is done.
        change: of a connection of a writing transaction.
        destination: its id, where the change gives no destination and no subscription.
        subscription: its id, likewise.

    Raises:
        NoLedgerError: there is none.
        DBAPIError: the database does not answer, or cannot write.
    """
    answer = await ledger.change(owner.fence, change)
    about = {"destination": destination, "subscription": subscription, **_shown(answer)}
    known = {name: value for name, value in about.items() if value is not None}
    who = {"by": caller.name, "subject": caller.subject, "role": str(caller.role), "tenant": owner.tenant}
    extra = log_event("report_notices_changed", action=str(action), **who, **known)
    target = known.get("subscription") or known.get("destination")
    log.info("%s: %s/%s, by %s (%s)", action, owner.tenant, target, caller.name, caller.role, extra=extra)
    return answer


def _shown(answer: Any) -> dict[str, Any]:
    """What a line says of a destination or a subscription."""
    match answer:
        case Destination():
            shown = {"kind": str(answer.kind), "address": shown_address(answer)}
            return {"destination": answer.destination_id, **shown, "language": answer.language, "zone": answer.zone}
        case Subscription():
            kept = ("tenant_id", "subscription_id", "destination_id", "created_at", "created_by")
            values = {name: value for name, value in answer._asdict().items() if name not in kept}
            ids = {"destination": answer.destination_id, "subscription": answer.subscription_id}
            return {**ids, **values, "digest": str(answer.digest)}
        case _:
            return {}
