"""What the parts that tell people have in common: where they are told, of what, and how it went.

Moments are UTC milliseconds, times of a day minutes of the local day in a destination's zone.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

OPERATORS: Final = "*"
"""In the place of a tenant: destinations of operators, which are told of all tenants."""
MOST_WHY_CHARS: Final = 300


class DestinationKind(StrEnum):
    """How a destination is reached; `APPRISE`, which reaches any address, is for operators only."""

    MAIL = "MAIL"
    WEBHOOK = "WEBHOOK"
    SLACK = "SLACK"
    TEAMS = "TEAMS"
    DISCORD = "DISCORD"
    APPRISE = "APPRISE"


OF_TENANTS: Final = tuple(kind for kind in DestinationKind if kind is not DestinationKind.APPRISE)
"""The kinds of destinations that tenants may have."""


def kinds_of(tenant: str) -> tuple[DestinationKind, ...]:
    """The kinds of destinations that a tenant may have; `OPERATORS` for operators."""
    return tuple(DestinationKind) if tenant == OPERATORS else OF_TENANTS


class Origin(StrEnum):
    """Who made a destination: its tenant, a connector by its contacts, or an operator."""

    TENANT = "TENANT"
    CONNECTOR = "CONNECTOR"
    OPERATOR = "OPERATOR"


class DestinationState(StrEnum):
    """Whether a destination is sent to: only an active one is."""

    UNCONFIRMED = "UNCONFIRMED"
    ACTIVE = "ACTIVE"
    PARKED = "PARKED"
    REMOVED = "REMOVED"


class Digest(StrEnum):
    """How many notices go together: each at once, or those of an hour, or those of a day."""

    AT_ONCE = "AT_ONCE"
    HOURLY = "HOURLY"
    DAILY = "DAILY"


class Form(StrEnum):
    """What a message is: one notice, several, a test without any, or the question whether it is wanted."""

    SINGLE = "SINGLE"
    DIGEST = "DIGEST"
    TEST = "TEST"
    CONFIRMATION = "CONFIRMATION"


class Destination(NamedTuple):
    """Where notices are sent.

    Attributes:
        tenant_id: whose it is; `OPERATORS` for those of operators.
        destination_id: random, the same for good.
        kind: how it is reached.
        name: what its owner calls it; a text of theirs, with whatever characters.
        address: of a mailbox, the URL that is posted to, or one of Apprise.
        origin: who made it.
        state: whether it is sent to.
        secret: signs what is posted to it; empty where nothing is signed.
        former_secret: signs as well, until `former_secret_until`.
        former_secret_until: None where there is no former secret.
        language: the code of its language.
        zone: its time zone by its IANA name.
        created_at: when it was made.
        created_by: by whom.
        confirmed_at: when whoever reads there said that it is wanted; None before.
        parked_at: when it was parked; None unless it is.
        parked_why: why, in the words of its other side.
    """

    tenant_id: str
    destination_id: str
    kind: DestinationKind
    name: str
    address: str
    origin: Origin
    state: DestinationState
    secret: str = ""
    former_secret: str = ""
    former_secret_until: int | None = None
    language: str = "en"
    zone: str = "UTC"
    created_at: int = 0
    created_by: str = ""
    confirmed_at: int | None = None
    parked_at: int | None = None
    parked_why: str | None = None


class Subscription(NamedTuple):
    """What a destination is told, and when.

    Attributes:
        tenant_id: whose it is.
        subscription_id: random, the same for good.
        destination_id: where.
        kinds: of notices; None for all.
        least_severity: less urgent ones are not told.
        servers: a pattern of names, with `*` and `?`; None for all, and for notices of the whole tenant.
        digest: how many go together.
        daily_at: when those of a day go.
        quiet_from: from when on nothing goes; None where there are no quiet hours.
        quiet_to: until when; what came meanwhile goes then, together.
        is_quiet_for_critical: whether what is critical waits as well.
        created_at: when it was made; nothing older is told.
        created_by: by whom.
    """

    tenant_id: str
    subscription_id: str
    destination_id: str
    kinds: tuple[str, ...] | None = None
    least_severity: str = "INFO"
    servers: str | None = None
    digest: Digest = Digest.AT_ONCE
    daily_at: int = 8 * 60
    quiet_from: int | None = None
    quiet_to: int | None = None
    is_quiet_for_critical: bool = False
    created_at: int = 0
    created_by: str = ""


class Message(NamedTuple):
    """What is sent at once to one destination.

    Attributes:
        message_id: a random text of letters, digits and underscores. A message that is sent again keeps it.
        form: what it is.
        made_at: when it was put together.
        notices: records of `admin_notification`, the oldest first; none in a test or a confirmation.
        attempt: 1 when it is tried for the first time.
        token: proves who was sent this message: of the link that confirms, of the one that unsubscribes, or what a
            webhook has to answer a confirmation with.
        omitted: how many notices more there were than a message holds.
    """

    message_id: str
    form: Form
    made_at: int
    notices: tuple[dict[str, Any], ...]
    attempt: int
    token: str = ""
    omitted: int = 0


class OutcomeKind(StrEnum):
    """How an attempt went.

    DELIVERED: the other side took it. FAILED: it may take it later. REFUSED: it does not take this message, whatever it
    does with others. GONE: it will take no message any more. FAULT: an error or a setting of ours kept this message
    from being sent. CHANNEL_AWAY: nobody can be reached this way now. Of the last two no destination is to blame.
    """

    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    GONE = "GONE"
    FAULT = "FAULT"
    CHANNEL_AWAY = "CHANNEL_AWAY"


class Outcome(NamedTuple):
    """How an attempt went, in the other side's words.

    `code` is its answer in numbers where it gave one. `why` has at most `MOST_WHY_CHARS` characters, all visible.
    `retry_after_ms` is how long it wants not to be asked.
    """

    kind: OutcomeKind
    code: int | None = None
    why: str = ""
    retry_after_ms: int | None = None


class Channel(Protocol):
    """A way to destinations of some kinds."""

    async def send(self, destination: Destination, message: Message) -> Outcome:
        """Send a message, in bounded time; whatever the other side does is an outcome, and raises nothing."""
