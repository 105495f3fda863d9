"""A server's status and what happens to its mail, in words, with the role that gives them colour and mark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

from streams.domain.outputs.server_report import ServerStatus
from streams.texts.languages import Language

ROLES: Final = {
    ServerStatus.BLOCKED: "blocked",
    ServerStatus.THROTTLED: "delayed",
    ServerStatus.MIXED: "several",
    ServerStatus.REPORTED: "reported",
    ServerStatus.PAUSED: "held",
    ServerStatus.EXEMPT: "held",
    ServerStatus.UNDETERMINED: "unjudged",
    ServerStatus.NOT_EXCHANGE: "unjudged",
    ServerStatus.OUT_OF_SCOPE: "unjudged",
    ServerStatus.VANISHED: "gone",
    ServerStatus.RESOLVED: "good",
    ServerStatus.COMPLIANT: "good",
}
"""The role of each status: its colour, its mark, its area in the chart; most urgent first."""
OTHER_ROLE: Final = "unjudged"
"""Of a status that this version does not know."""
OUT_OF_DATE: Final = (
    ServerStatus.BLOCKED,
    ServerStatus.THROTTLED,
    ServerStatus.MIXED,
    ServerStatus.REPORTED,
    ServerStatus.PAUSED,
    ServerStatus.EXEMPT,
)
"""What has a build that is not accepted, whatever holds enforcement back."""


class StatusWords(NamedTuple):
    """A status in words, and its role."""

    word: str
    role: str


def role_of(status: str) -> str:
    """The role of a status."""
    return next((role for known, role in ROLES.items() if known == status), OTHER_ROLE)


def status_words(language: Language, status: str, last_seen_at: int | None = None) -> StatusWords:
    """The word for a status, and its role; `last_seen_at` in UTC milliseconds."""
    return StatusWords(_word(language, status, last_seen_at), role_of(status))


def count_by_words(language: Language, counts: Mapping[str, int]) -> list[tuple[StatusWords, int]]:
    """How many servers have each word, most urgent first; several statuses may share one."""
    found: Counter[StatusWords] = Counter()
    ranks = {str(status): rank for rank, status in enumerate(ROLES)}
    for status in sorted(counts, key=lambda one: (ranks.get(one, len(ranks)), one)):
        found[status_words(language, status)] += counts[status]
    return list(found.items())


def _word(language: Language, status: str, last_seen_at: int | None) -> str:
    match status:
        case ServerStatus.COMPLIANT | ServerStatus.RESOLVED:
            return language.say("up to date")
        case ServerStatus.REPORTED:
            return language.say("out of date, not enforced yet")
        case ServerStatus.THROTTLED:
            return language.say("delayed")
        case ServerStatus.BLOCKED:
            return language.say("blocked")
        case ServerStatus.MIXED:
            return language.say("several machines")
        case ServerStatus.PAUSED:
            return language.say("paused")
        case ServerStatus.EXEMPT:
            return language.say("exempt")
        case ServerStatus.VANISHED if last_seen_at is None:
            return language.say("not seen")
        case ServerStatus.VANISHED:
            return language.say("not seen since %(date)s", date=language.short_date(last_seen_at or 0))
        case _:
            return language.say("not judged")


def role_word(language: Language, role: str) -> str:
    """The word for a role, as the chart labels its area."""
    match role:
        case "blocked":
            return language.say("blocked")
        case "delayed":
            return language.say("delayed")
        case "several":
            return language.say("several machines")
        case "reported":
            return language.say("out of date")
        case "held":
            return language.say("paused, exempt")
        case "good":
            return language.say("up to date")
        case "gone":
            return language.say("not seen")
        case _:
            return language.say("not judged")


class Rates(NamedTuple):
    """Minutes of every hour in which mail is delayed, and in which it is blocked."""

    throttle: int
    block: int

    @property
    def role(self) -> str:
        """The role of these rates: that of the strongest action."""
        return "blocked" if self.block else "delayed" if self.throttle else "reported"


def rates_of(throttle: int | None, block: int | None) -> Rates:
    """Rates, where what is not known counts as none."""
    return Rates(throttle or 0, block or 0)


def rate_words(language: Language, rates: Rates) -> str:
    """What happens to mail, in few words."""
    if rates.block >= 60:
        return language.say("all mail blocked")
    if rates.throttle and rates.block:
        return language.say(
            "delayed %(throttle)s and blocked %(block)s min/h", throttle=rates.throttle, block=rates.block
        )
    if rates.block:
        return language.say("blocked %(block)s min/h", block=rates.block)
    if rates.throttle:
        return language.say("delayed %(throttle)s min/h", throttle=rates.throttle)
    return language.say("accepted")


def change_words(language: Language, before: Rates, after: Rates) -> str:
    """What changes for mail when a stage begins, as `delayed 10 → 20 minutes per hour`."""
    if after.block >= 60:
        return language.say("all mail is blocked")
    parts = []
    if after.throttle:
        minutes = _change(before.throttle, after.throttle)
        parts.append(language.say("delayed %(minutes)s minutes per hour", minutes=minutes))
    if after.block:
        minutes = _change(before.block, after.block)
        parts.append(language.say("blocked %(minutes)s minutes per hour", minutes=minutes))
    return language.listed(parts) or language.say("mail is accepted, the server is reported")


def _change(before: int, after: int) -> str:
    return f"{before} \N{RIGHTWARDS ARROW} {after}" if before not in (0, after) else str(after)
