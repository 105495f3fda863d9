"""What an edge decides: the action of any minute, whether a message passes anyway, and the reply line.

The schedule in a verdict is enough to enforce every stage to come on time, without another verdict and without the
service. The older an edge's knowledge, the less it enforces.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from streams.domain.exchange.build import Build, Product
from streams.domain.exchange.detection import Detection, Origin, product_of
from streams.domain.keys import ServerKey
from streams.domain.outputs.replies import MAX_REPLY_BYTES, fill_reply
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.ladder import Action, ScheduledStage
from streams.domain.time import HOUR_MS, MINUTE_MS, SECOND_MS

_CODES: Final = {Action.THROTTLE: ("450 4.7.230 ", "throttled"), Action.BLOCK: ("550 5.7.230 ", "blocked")}
_NOT_PRINTABLE = re.compile(r"[^ -~]")
FINDINGS_OF_ONE_SERVER: Final = 3
"""A client is answered before its headers only after this many findings in a row of one server."""


class EdgeVerdict(NamedTuple):
    """What an edge keeps of a verdict; the fields are those of `Verdict`."""

    tenant_id: str
    server: str
    revision: int
    stage: int
    throttle_minutes_per_hour: int
    block_minutes_per_hour: int
    schedule: tuple[ScheduledStage, ...]
    paused_until: int | None
    smtp_template_throttle: str | None
    smtp_template_block: str | None
    required_build: Build | None
    is_mixed: bool

    @property
    def key(self) -> ServerKey:
        """The server that it is about."""
        return ServerKey(self.tenant_id, self.server)

    @property
    def can_act(self) -> bool:
        """Whether any moment has minutes in which mail is delayed or refused."""
        stages: list[EdgeVerdict | ScheduledStage] = [self, *self.schedule]
        return any(stage.throttle_minutes_per_hour or stage.block_minutes_per_hour for stage in stages)


class InForce(NamedTuple):
    """What a verdict says about one moment: stage, minutes of each hour, start of the next stage (UTC milliseconds)."""

    stage: int
    throttle_minutes_per_hour: int
    block_minutes_per_hour: int
    next_stage_at: int | None


class Limits(NamedTuple):
    """How long an edge believes its verdicts and a client's findings; milliseconds."""

    block_max_age: int = 24 * HOUR_MS
    table_max_age: int = 72 * HOUR_MS
    clock_skew: int = 60 * SECOND_MS
    probe: int = 5 * MINUTE_MS


class Knowledge(NamedTuple):
    """How current an edge's verdicts are.

    `confirmed_at` is the last moment (UTC milliseconds) at which all verdicts were known and every worker gave signs of
    life; None before the first complete read. `clock_skew` is how far the host's clock is known to be wrong
    (milliseconds, either way).
    """

    confirmed_at: int | None
    clock_skew: int = 0


class Trust(StrEnum):
    """How far an edge acts on what it knows."""

    CURRENT = "CURRENT"
    AGED = "AGED"
    STALE = "STALE"
    EMPTY = "EMPTY"
    CLOCK = "CLOCK"


class Cause(StrEnum):
    """Why a message is answered as it is; the value says it to a person."""

    MALFORMED = "The headers name no server that could have a verdict."
    NO_VERDICT = "There is no verdict about this server."
    UNREADABLE = "The verdict about this server cannot be read."
    NO_STAGE = "The verdict delays and refuses nothing at this stage."
    PAUSED = "A pause or an exception covers the server."
    FREE_MINUTE = "The server is enforced, but not in this minute."
    ACCEPTED_STAMP = "The message shows a build that is accepted, in the server's own stamp."
    GATEWAY = "The message came through a gateway, which is not judged."
    EMPTY = "The verdicts have not been read completely yet."
    STALE = "Nothing has confirmed the verdicts for too long."
    CLOCK = "The clock of this host is wrong."
    THROTTLED = "The server is throttled in this minute."
    BLOCKED = "The server is blocked in this minute."
    AGED = "The server is blocked in this minute, but nothing has confirmed that for long, so mail is delayed instead."


class Decision(NamedTuple):
    """What is done with a message. `reply` is one line of printable ASCII; None where the message is accepted."""

    action: Action
    cause: Cause
    reply: str | None = None


class ClientFinding(NamedTuple):
    """What a message of a client showed at `made_at` (UTC milliseconds), its headers seen.

    `has_passed`: an accepted stamp let it in, or a gateway's line. `build` is its stamp; another verdict may accept it.
    """

    server: ServerKey
    made_at: int
    has_passed: bool
    build: Build | None = None


def edge_verdict_of(verdict: Verdict) -> EdgeVerdict:
    """What an edge keeps of a verdict."""
    return EdgeVerdict(
        *(verdict.tenant_id, verdict.server, verdict.revision, verdict.stage),
        *(verdict.throttle_minutes_per_hour, verdict.block_minutes_per_hour),
        *(verdict.schedule, verdict.paused_until),
        *(verdict.smtp_template_throttle, verdict.smtp_template_block),
        *(verdict.required_build, verdict.is_mixed),
    )


def in_force(verdict: Verdict | EdgeVerdict, moment: int) -> InForce:
    """The stage that the verdict's schedule has for `moment` (UTC milliseconds), and the next one after it.

    The schedule inside the verdict counts, so the next stage begins on time without a new verdict. An end of
    enforcement in between is no stage.
    """
    stage, throttle, block = verdict.stage, verdict.throttle_minutes_per_hour, verdict.block_minutes_per_hour
    next_stage_at: int | None = None
    for item in verdict.schedule:
        if item.starts_at <= moment:
            stage, throttle, block = item.stage, item.throttle_minutes_per_hour, item.block_minutes_per_hour
        elif item.stage > stage or item.throttle_minutes_per_hour or item.block_minutes_per_hour:
            next_stage_at = item.starts_at
            break
    if verdict.paused_until is not None and moment < verdict.paused_until:
        throttle = block = 0
    return InForce(stage, throttle, block, next_stage_at)


def action_at(verdict: Verdict | EdgeVerdict, moment: int) -> Action:
    """What the edge does with a connection of this server at `moment` (UTC milliseconds)."""
    now = in_force(verdict, moment)
    offset = hour_offset(verdict.key)
    return minute_action(offset, now.throttle_minutes_per_hour, now.block_minutes_per_hour, moment)


def reply_at(verdict: Verdict | EdgeVerdict, moment: int) -> str | None:
    """The reply line that the edge answers at `moment` (UTC milliseconds); None where it accepts.

    One line of printable ASCII, at most `MAX_REPLY_BYTES` long, with the minutes of the stage in force then and the
    date of the stage after it.
    """
    action = action_at(verdict, moment)
    return None if action is Action.ACCEPT else _reply(verdict, action, in_force(verdict, moment))


def trust_in(knowledge: Knowledge, now: int, limits: Limits) -> Trust:
    """How far to act on what is known at `now` (UTC milliseconds)."""
    if knowledge.confirmed_at is None:
        return Trust.EMPTY
    if knowledge.clock_skew > limits.clock_skew or knowledge.confirmed_at > now + limits.clock_skew:
        return Trust.CLOCK
    age = now - knowledge.confirmed_at
    if age > limits.table_max_age:
        return Trust.STALE
    return Trust.AGED if age > limits.block_max_age else Trust.CURRENT


def decide_message(detection: Detection, verdict: EdgeVerdict | None, trust: Trust, now: int) -> Decision:
    """What is done with a message whose headers were seen.

    Args:
        detection: the server that its headers show.
        verdict: the newest verdict about that server; None where there is none.
        trust: how far verdicts are believed.
        now: UTC milliseconds.
    """
    decision = _decide(verdict, trust, now)
    if verdict is None or decision.action is Action.ACCEPT:
        return decision
    if (cause := passing_cause(detection, verdict.required_build)) is not None:
        return Decision(Action.ACCEPT, cause)
    return decision


def decide_early(
    findings: Sequence[ClientFinding], verdict: EdgeVerdict | None, trust: Trust, now: int, probe: int
) -> Decision | None:
    """What is answered to a client before its headers are seen; None where they must be seen first.

    A client is refused early only while its last message, seen with its headers at most `probe` milliseconds ago, and
    the ones before it showed one server that no accepted stamp let in. So a message is seen in full at least once in
    that time, and a patched server can show its new build.

    Args:
        findings: the client's last ones, newest last.
        verdict: the newest verdict about the server of the last one.
        trust: how far verdicts are believed.
        now: UTC milliseconds.
        probe: milliseconds.
    """
    last = findings[-FINDINGS_OF_ONE_SERVER:]
    if verdict is None or verdict.is_mixed or len(last) < FINDINGS_OF_ONE_SERVER:
        return None
    for finding in last:
        if finding.server != verdict.key or finding.has_passed or _is_accepted(finding.build, verdict.required_build):
            return None
    if not 0 <= now - last[-1].made_at < probe:
        return None
    decision = _decide(verdict, trust, now)
    return None if decision.action is Action.ACCEPT else decision


def passing_cause(detection: Detection, required_build: Build | None) -> Cause | None:
    """Why a message passes whatever the verdict about its server says; None where it does not.

    It passes with an own stamp in the CU line of `required_build` and not below it, and where a gateway wrote its
    topmost line.
    """
    if detection.origin is Origin.GATEWAY or product_of(detection.server, detection.build) is Product.EXCHANGE_ONLINE:
        return Cause.GATEWAY
    return Cause.ACCEPTED_STAMP if _is_accepted(detection.build, required_build) else None


def _is_accepted(build: Build | None, required_build: Build | None) -> bool:
    return build is not None and required_build is not None and build.reaches(required_build)


def _decide(verdict: EdgeVerdict | None, trust: Trust, now: int) -> Decision:
    if verdict is None:
        return Decision(Action.ACCEPT, Cause.NO_VERDICT)
    if trust in (Trust.EMPTY, Trust.STALE, Trust.CLOCK):
        return Decision(Action.ACCEPT, Cause[trust.name])
    rates = in_force(verdict, now)
    throttle, block = rates.throttle_minutes_per_hour, rates.block_minutes_per_hour
    if not throttle and not block:
        is_paused = verdict.paused_until is not None and now < verdict.paused_until
        return Decision(Action.ACCEPT, Cause.PAUSED if is_paused else Cause.NO_STAGE)
    action = minute_action(hour_offset(verdict.key), throttle, block, now)
    if action is Action.ACCEPT:
        return Decision(action, Cause.FREE_MINUTE)
    if trust is Trust.AGED:
        # The same minutes as before, and all of them are in the text.
        rates = rates._replace(throttle_minutes_per_hour=min(60, throttle + block), block_minutes_per_hour=0)
        cause = Cause.AGED if action is Action.BLOCK else Cause.THROTTLED
        return Decision(Action.THROTTLE, cause, _reply(verdict, Action.THROTTLE, rates))
    cause = Cause.BLOCKED if action is Action.BLOCK else Cause.THROTTLED
    return Decision(action, cause, _reply(verdict, action, rates))


def _reply(verdict: Verdict | EdgeVerdict, action: Action, rates: InForce) -> str:
    """The line for an action, always one that SMTP can carry: the text in a verdict is not trusted."""
    code, verb = _CODES[action]
    if action is Action.BLOCK:
        template, minutes = verdict.smtp_template_block, rates.block_minutes_per_hour
    else:
        template, minutes = verdict.smtp_template_throttle, rates.throttle_minutes_per_hour
    if template is not None and template.startswith(code) and template[len(code) :].strip():
        return _NOT_PRINTABLE.sub("?", fill_reply(template, minutes, rates.next_stage_at))[:MAX_REPLY_BYTES].rstrip()
    return f"{code}Connecting Exchange server version is out-of-date; connection {verb} for {minutes} mins/hr."


def hour_offset(key: ServerKey) -> int:
    """The minute of the hour at which this server's affected minutes begin, so that not all servers share one."""
    digest = hashlib.sha256(key.topic_key()).digest()
    return int.from_bytes(digest[:8], "big") % 60


def minute_action(offset: int, throttle: int, block: int, moment: int) -> Action:
    """What applies in the minute of `moment` (UTC milliseconds) at these rates."""
    minute = (moment // MINUTE_MS % 60 - offset) % 60
    if minute < block:
        return Action.BLOCK
    return Action.THROTTLE if minute < block + throttle else Action.ACCEPT
