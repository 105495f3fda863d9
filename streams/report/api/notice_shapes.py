"""What the API takes and gives of notices: times of a day as minutes of the local day, moments as ISO 8601 in UTC."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from streams.domain.outputs.notification import NotificationKind, Severity
from streams.domain.time import iso
from streams.notices import model
from streams.notices.checks import MOST_ADDRESS_CHARS, MOST_NAME_CHARS, MOST_PATTERN_CHARS
from streams.notices.history import Attempted, Delivered
from streams.notices.masking import shown_address
from streams.notices.messages import SentMessage
from streams.notices.model import DestinationKind, Digest
from streams.notices.times import MINUTES_OF_DAY
from streams.report.api.shapes import moment
from streams.report.web.notices import MOST_ID_CHARS

Name = Annotated[str, Meta(min_length=1, max_length=MOST_NAME_CHARS)]
LanguageCode = Annotated[str, Meta(min_length=2, max_length=10, description="The code of a language: en, es, de.")]
Zone = Annotated[
    str, Meta(min_length=1, max_length=100, description="A time zone by its IANA name, such as Europe/Berlin.")
]
Minute = Annotated[int, Meta(ge=0, lt=MINUTES_OF_DAY)]


class NewDestination(Struct, frozen=True, forbid_unknown_fields=True):
    """A destination to make: a mailbox or an https URL that is posted to; of operators also an address of Apprise."""

    kind: DestinationKind
    name: Name
    address: Annotated[str, Meta(min_length=1, max_length=MOST_ADDRESS_CHARS)]
    language: LanguageCode = "en"
    zone: Zone = "UTC"


class DestinationChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What changes of a destination; what is missing stays. Another address is another destination."""

    name: Name | UnsetType = UNSET
    language: LanguageCode | UnsetType = UNSET
    zone: Zone | UnsetType = UNSET


class Message(Struct, frozen=True):
    """A message, and how its latest attempt went: OPEN, SENT or GIVEN_UP; one that was not tried has no outcome."""

    message_id: str
    destination_id: str
    form: str
    state: str
    notices: int
    made_at: str
    attempts: int
    next_attempt_at: str | None
    last_code: int | None
    last_outcome: str | None
    last_why: str | None
    ended_at: str | None


class Attempt(Struct, frozen=True):
    """What the other side answered to a message at one time."""

    number: int
    at: str
    ended_at: str
    outcome: str
    code: int | None
    why: str


class MessageInFull(Struct, frozen=True):
    """A message with its attempts of the last 30 days, oldest first."""

    message: Message
    attempts: list[Attempt]


class Destination(Struct, frozen=True):
    """Where notices are sent; of an address that is a URL only the host is shown. `last` was tried last."""

    tenant_id: str
    destination_id: str
    kind: str
    name: str
    address: str
    origin: str
    state: str
    language: str
    zone: str
    created_at: str
    created_by: str
    confirmed_at: str | None
    parked_at: str | None
    parked_why: str | None
    former_secret_until: str | None
    last: Message | None


class Destinations(Struct, frozen=True):
    """A tenant's destinations, oldest first."""

    items: list[Destination]


class DestinationWithSecret(Struct, frozen=True):
    """A destination, and the secret that signs what is posted to it: shown here, and never again."""

    destination: Destination
    secret: str | None


class TestRequested(Struct, frozen=True):
    """A test that is on its way."""

    message_id: str


class SubscriptionFields(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a destination is told, and when; times of a day are minutes of the day in the destination's time zone."""

    kinds: Annotated[list[NotificationKind], Meta(min_length=1, max_length=50)] | None = None
    least_severity: Severity = Severity.INFO
    servers: (
        Annotated[str, Meta(min_length=1, max_length=MOST_PATTERN_CHARS, description="A pattern with `*` and `?`.")]
        | None
    ) = None
    digest: Digest = Digest.AT_ONCE
    daily_at: Minute = 8 * 60
    quiet_from: Minute | None = None
    quiet_to: Minute | None = None
    is_quiet_for_critical: bool = False


class NewSubscription(SubscriptionFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A subscription to make: from now on, of nothing older."""

    destination_id: Annotated[str, Meta(min_length=1, max_length=MOST_ID_CHARS)]


class Subscription(Struct, frozen=True):
    """What a destination is told, and when; `kinds` and `servers` are null for all."""

    tenant_id: str
    subscription_id: str
    destination_id: str
    kinds: list[str] | None
    least_severity: str
    servers: str | None
    digest: str
    daily_at: int
    quiet_from: int | None
    quiet_to: int | None
    is_quiet_for_critical: bool
    created_at: str
    created_by: str


class Subscriptions(Struct, frozen=True):
    """A tenant's subscriptions, oldest first."""

    items: list[Subscription]


class Delivery(Struct, frozen=True):
    """What became of a notice at a destination, and how the latest attempt of its message went."""

    tenant_id: str
    notification_id: str
    notification_kind: str
    server: str | None
    severity: str
    destination_id: str
    destination_kind: str
    destination_name: str
    state: str
    routed_at: str
    due_at: str
    ended_at: str | None
    why: str | None
    message_id: str | None
    attempts: int
    last_code: int | None
    last_outcome: str | None
    last_why: str | None


def message_of(one: SentMessage) -> Message:
    """A message."""
    next_at = moment(one.next_attempt_at) if one.ended_at is None else None
    changes: dict[str, Any] = {
        "made_at": iso(one.made_at),
        "next_attempt_at": next_at,
        "ended_at": moment(one.ended_at),
    }
    return Message(**{**one._asdict(), **changes})


def attempt_of(one: Attempted) -> Attempt:
    """An attempt."""
    return Attempt(one.number, iso(one.at), iso(one.ended_at), one.outcome, one.code, one.why)


def destination_of(one: model.Destination, last: SentMessage | None = None) -> Destination:
    """A destination without its secrets."""
    return Destination(
        one.tenant_id,
        one.destination_id,
        one.kind,
        one.name,
        shown_address(one),
        one.origin,
        one.state,
        one.language,
        one.zone,
        iso(one.created_at),
        one.created_by,
        moment(one.confirmed_at),
        moment(one.parked_at),
        one.parked_why,
        moment(one.former_secret_until),
        None if last is None else message_of(last),
    )


def subscription_of(one: model.Subscription) -> Subscription:
    """A subscription."""
    kinds = None if one.kinds is None else list(one.kinds)
    return Subscription(**{**one._asdict(), "kinds": kinds, "created_at": iso(one.created_at)})


def delivery_of(one: Delivered) -> Delivery:
    """A delivery."""
    return Delivery(
        one.tenant_id,
        one.notification_id,
        one.record["kind"],
        one.record.get("server"),
        one.severity,
        one.destination_id,
        one.destination_kind,
        one.destination_name,
        one.state,
        iso(one.routed_at),
        iso(one.due_at),
        moment(one.ended_at),
        one.why,
        one.message_id,
        one.attempts,
        one.last_code,
        one.last_outcome,
        one.last_why,
    )
