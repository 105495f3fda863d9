"""What the page says of destinations, subscriptions, messages and deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from streams.domain.outputs.notification import NotificationKind, Severity
from streams.notices.destinations import EXPIRED, GIVEN_UP, OPEN, PACKED, SENT, WAITING, WITHDRAWN
from streams.notices.history import Delivered
from streams.notices.messages import SentMessage
from streams.notices.model import Destination, DestinationKind, DestinationState, Digest, OutcomeKind, Subscription
from streams.texts.languages import Language


class Words(NamedTuple):
    """A word for something, and the role of its colour."""

    word: str
    role: str


def way_words(language: Language, kind: str) -> str:
    """How a destination is reached."""
    match kind:
        case DestinationKind.MAIL:
            return language.say("mail")
        case DestinationKind.WEBHOOK:
            return language.say("webhook")
        case DestinationKind.SLACK:
            return "Slack"
        case DestinationKind.TEAMS:
            return "Microsoft Teams"
        case DestinationKind.APPRISE:
            return "Apprise"
        case _:
            return "Discord"


def state_words(language: Language, state: str) -> Words:
    """Whether a destination is sent to."""
    match state:
        case DestinationState.UNCONFIRMED:
            return Words(language.say("not confirmed yet"), "reported")
        case DestinationState.ACTIVE:
            return Words(language.say("in use"), "good")
        case DestinationState.PARKED:
            return Words(language.say("parked"), "blocked")
        case _:
            return Words(language.say("removed"), "gone")


def state_sentence(language: Language, destination: Destination) -> str:
    """What a destination's state means for whoever waits for notices there; empty where nothing has to be said."""
    match destination.state:
        case DestinationState.UNCONFIRMED if destination.kind is DestinationKind.WEBHOOK:
            return language.say("Nothing is sent before it answers the question that was posted to it.")
        case DestinationState.UNCONFIRMED:
            return language.say("Nothing is sent before somebody confirms it by the link that was sent there.")
        case DestinationState.PARKED if destination.parked_at is not None:
            since = language.moment(destination.parked_at)
            return language.say("Nothing was sent since %(since)s; what comes waits for 7 days.", since=since)
        case _:
            return ""


def message_words(language: Language, message: SentMessage) -> Words:
    """How it went with a message."""
    match message.state:
        case state if state == SENT:
            return Words(language.say("delivered"), "good")
        case state if state == OPEN and not message.attempts:
            return Words(language.say("on its way"), "reported")
        case state if state == OPEN:
            when = language.moment(message.next_attempt_at)
            return Words(language.say("failed; tried again on %(when)s", when=when), "delayed")
        case _:
            return Words(language.say("given up"), "blocked")


def answer_words(language: Language, outcome: str | None) -> str:
    """What the other side made of an attempt."""
    match outcome:
        case OutcomeKind.DELIVERED:
            return language.say("delivered")
        case OutcomeKind.REFUSED:
            return language.say("refused this message")
        case OutcomeKind.GONE:
            return language.say("takes no message any more")
        case OutcomeKind.FAULT:
            return language.say("could not be sent: a fault of this service")
        case OutcomeKind.CHANNEL_AWAY:
            return language.say("could not be reached: the relay is away")
        case OutcomeKind.FAILED:
            return language.say("failed")
        case _:
            return language.say("not tried yet")


def delivery_words(language: Language, delivery: Delivered, now: int) -> Words:
    """What became of a notice at a destination by a moment."""
    match delivery.state:
        case state if state == WAITING and delivery.due_at <= now:
            return Words(language.say("waiting"), "reported")
        case state if state == WAITING:
            return Words(language.say("waits until %(when)s", when=language.moment(delivery.due_at)), "reported")
        case state if state == PACKED and delivery.attempts:
            return Words(language.say("failed so far"), "delayed")
        case state if state == PACKED:
            return Words(language.say("on its way"), "reported")
        case state if state == SENT:
            return Words(language.say("delivered"), "good")
        case state if state == EXPIRED:
            return Words(language.say("not sent: too old"), "gone")
        case state if state == WITHDRAWN:
            return Words(language.say("not sent: no longer true or wanted"), "gone")
        case state if state == GIVEN_UP:
            return Words(language.say("given up"), "blocked")
        case state:
            return Words(state, "unjudged")


def severity_words(language: Language, severity: str) -> str:
    """What is told from a severity on."""
    match severity:
        case Severity.CRITICAL:
            return language.say("only what is critical")
        case Severity.WARNING:
            return language.say("warnings and what is critical")
        case _:
            return language.say("everything, however urgent")


def what_words(language: Language, subscription: Subscription) -> list[str]:
    """What a subscription is about, in parts."""
    said = [severity_words(language, subscription.least_severity)]
    if subscription.kinds is not None:
        known = kinds(language)
        said.append(", ".join(known.get(kind, kind) for kind in subscription.kinds))
    if subscription.servers is not None:
        said.append(language.say("servers: %(pattern)s", pattern=subscription.servers))
    return said


def when_words(language: Language, subscription: Subscription) -> list[str]:
    """When a subscription's notices go, in parts."""
    said = [digest_words(language, subscription.digest, clock_time(subscription.daily_at))]
    if subscription.quiet_from is not None and subscription.quiet_to is not None:
        times = {"begin": clock_time(subscription.quiet_from), "end": clock_time(subscription.quiet_to)}
        if subscription.is_quiet_for_critical:
            said.append(language.say("nothing from %(begin)s to %(end)s", **times))
        else:
            said.append(language.say("from %(begin)s to %(end)s only what is critical", **times))
    return said


def digest_words(language: Language, digest: str, at: str) -> str:
    """How many notices go together."""
    match digest:
        case Digest.AT_ONCE:
            return language.say("each at once")
        case Digest.HOURLY:
            return language.say("together, once an hour")
        case _:
            return language.say("together, once a day at %(time)s", time=at)


def clock_time(minute: int) -> str:
    """A time of the day, as 08:00."""
    return f"{minute // 60:02}:{minute % 60:02}"


def kinds(language: Language) -> Mapping[str, str]:
    """Every kind of notice in words."""
    return {
        NotificationKind.SERVER_DETECTED: language.say("a server is out of date"),
        NotificationKind.STAGE_UPCOMING: language.say("a stage is about to begin"),
        NotificationKind.STAGE_ENTERED: language.say("a stage has begun"),
        NotificationKind.SERVER_RESOLVED: language.say("a server is up to date again"),
        NotificationKind.SERVER_REGRESSED: language.say("a server is out of date once more"),
        NotificationKind.SERVER_MIXED: language.say("several machines share a name"),
        NotificationKind.SERVER_VANISHED: language.say("a server is not seen any more"),
        NotificationKind.POLICY_ANNOUNCED: language.say("a coming policy hits a server"),
        NotificationKind.PAUSE_STARTED: language.say("a pause has begun"),
        NotificationKind.PAUSE_EXTENDED: language.say("a pause was extended"),
        NotificationKind.PAUSE_CANCELLED: language.say("a pause was cancelled"),
        NotificationKind.PAUSE_ENDING: language.say("a pause is about to end"),
        NotificationKind.PAUSE_ENDED: language.say("a pause is over"),
        NotificationKind.COMMAND_REFUSED: language.say("a command was refused"),
        NotificationKind.EXCEPTION_GRANTED: language.say("an exception was granted"),
        NotificationKind.EXCEPTION_REVOKED: language.say("an exception was revoked"),
        NotificationKind.EXCEPTION_EXPIRED: language.say("an exception has expired"),
        NotificationKind.OVERRIDE_APPLIED: language.say("a server is judged by another build"),
        NotificationKind.OVERRIDE_ENDED: language.say("a server is judged by its own build again"),
    }
