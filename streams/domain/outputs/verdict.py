"""The verdict: what the edge must do about one server, now and at every stage to come."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from streams.domain.exchange.build import Build
from streams.domain.exchange.catalogue import Remedy
from streams.domain.exchange.detection import Identity
from streams.domain.exchange.evidence import Evidence
from streams.domain.policy.judgement import Finding
from streams.domain.policy.ladder import Action, ScheduledStage, hour_offset, minute_action
from streams.domain.policy.rulebook import Service
from streams.domain.time import LATEST_MS, iso

NAMESPACE = uuid.UUID("6f7d1a52-5d0b-5c62-9a54-0d6a6b2f4c11")
"""Namespace of every UUIDv5 that this product makes."""
MAX_REPLY_BYTES: Final = 510
"""RFC 5321, 4.5.3.1.5: a reply line has 512 octets with its CRLF."""
_MINUTES: Final = "{minutes}"
_NEXT: Final = "{next}"
_NO_NAME = re.compile(r"[^A-Za-z0-9._:-]")
_CUT: Final = "..."
_MIN_NAME_CHARS: Final = 16
"""A name cut to less than this names no server."""
MAX_NAME_CHARS: Final = 64
"""Of a service whose name would leave no room for the first sentence."""
_MAX_MINUTES: Final = 60


def verdict_id(tenant_id: str, server: str, revision: int) -> str:
    """The id of a server's verdict: the same input always gives the same one."""
    return str(uuid.uuid5(NAMESPACE, f"verdict/{tenant_id}/{server}/{revision}"))


class Verdict(NamedTuple):
    """A verdict; moments in UTC milliseconds, rates in minutes of each hour, `schedule` holds the stages to come.

    `smtp_reply_*` are the lines of the stage in force at `effective_at`, `smtp_template_*` those of every stage: see
    `reply_at`. `cves` are all vulnerabilities that the build is known to have, whatever the policy asks for.
    """

    verdict_id: str
    revision: int
    tenant_id: str
    server: str
    identity: Identity
    action: Action
    stage: int
    throttle_minutes_per_hour: int
    block_minutes_per_hour: int
    finding: Finding
    reason: str
    build: Build | None
    required_build: Build | None
    remedy: Remedy | None
    cves: tuple[str, ...]
    detected_at: int | None
    effective_at: int
    schedule: tuple[ScheduledStage, ...]
    paused_until: int | None
    smtp_reply_throttle: str | None
    smtp_reply_block: str | None
    smtp_template_throttle: str | None
    smtp_template_block: str | None
    evidence: Evidence | None
    policy_id: str
    policy_version: int
    issued_at: int
    resolved_at: int | None
    is_mixed: bool = False


class InForce(NamedTuple):
    """What a verdict says about one moment: minutes of each hour, and when the next stage begins (UTC milliseconds)."""

    throttle_minutes_per_hour: int
    block_minutes_per_hour: int
    next_stage_at: int | None


def in_force(verdict: Verdict, moment: int) -> InForce:
    """The rates that the verdict's schedule has for `moment` (UTC milliseconds), and the next stage after it.

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
        return InForce(0, 0, next_stage_at)
    return InForce(throttle, block, next_stage_at)


def action_at(verdict: Verdict, moment: int) -> Action:
    """What the edge does with a connection of this server at `moment` (UTC milliseconds)."""
    now = in_force(verdict, moment)
    offset = hour_offset(verdict.tenant_id, verdict.server)
    return minute_action(offset, now.throttle_minutes_per_hour, now.block_minutes_per_hour, moment)


def reply_at(verdict: Verdict, moment: int) -> str | None:
    """The reply line that the edge answers at `moment` (UTC milliseconds); None where it accepts.

    One line of printable ASCII, at most `MAX_REPLY_BYTES` long, with the minutes of the stage in force then and the
    date of the stage after it.
    """
    now = in_force(verdict, moment)
    match action_at(verdict, moment):
        case Action.BLOCK:
            template, minutes = verdict.smtp_template_block, now.block_minutes_per_hour
        case Action.THROTTLE:
            template, minutes = verdict.smtp_template_throttle, now.throttle_minutes_per_hour
        case _:
            return None
    return None if template is None else fill_reply(template, minutes, now.next_stage_at)


def fill_reply(template: str, minutes: int, next_stage_at: int | None) -> str:
    """A verdict's template as a reply line: `minutes` of each hour, and the next stage's date unless there is none."""
    following = "" if next_stage_at is None else f" Next stage {iso(next_stage_at)}."
    return template.replace(_MINUTES, str(minutes)).replace(_NEXT, following)


def with_replies(verdict: Verdict, service: Service, build: Build | None) -> Verdict:
    """The verdict with its reply texts: templates for every stage that acts, and the lines of the present stage.

    `build` is what the server is judged as: under an override another one than the verdict's, which is the stamped one.
    Both templates are there as soon as either action is: an edge that no longer trusts an old verdict throttles where
    it would block.
    """
    rates = (verdict.throttle_minutes_per_hour, verdict.block_minutes_per_hour)
    acts = any(rates) or any(item.throttle_minutes_per_hour or item.block_minutes_per_hour for item in verdict.schedule)
    if not acts:
        return verdict
    throttle = reply_template(Action.THROTTLE, service, verdict.server, build, verdict.required_build)
    block = reply_template(Action.BLOCK, service, verdict.server, build, verdict.required_build)
    following = in_force(verdict, verdict.effective_at).next_stage_at
    return verdict._replace(
        smtp_template_throttle=throttle,
        smtp_template_block=block,
        smtp_reply_throttle=fill_reply(throttle, rates[0], following) if rates[0] else None,
        smtp_reply_block=fill_reply(block, rates[1], following) if rates[1] else None,
    )


def reply_template(action: Action, service: Service, server: str, build: Build | None, required: Build | None) -> str:
    """The edge's reply line for `action`, with `{minutes}` and `{next}` where `fill_reply` puts a stage's facts.

    The code and the first sentence are those of Exchange Online (`450 4.7.230`, `550 5.7.230`). However it is filled in
    it has at most `MAX_REPLY_BYTES`: a long server name is cut and the cut marked. Where the service's own name and
    link leave no room, first the server goes, then the date, then the link.
    """
    code, done = ("550 5.7.230", "blocked") if action is Action.BLOCK else ("450 4.7.230", "throttled")
    first = (
        f"{code} Connecting Exchange server version is out-of-date; "
        f"connection to {_own_text(service.name)} {done} for {_MINUTES} mins/hr."
    )
    runs = f"runs {build or 'an unknown build'}, "
    runs += f"{required} or newer is required." if required else "which is no longer accepted."
    link, name = _own_text(service.link), _shown_name(server)
    room = MAX_REPLY_BYTES - _longest(f"{first}  {runs}{_NEXT} {link}")
    if room >= min(len(name), _MIN_NAME_CHARS):
        name = name if len(name) <= room else name[: room - len(_CUT)] + _CUT
        return f"{first} {name} {runs}{_NEXT} {link}"
    for shorter in (f"{first}{_NEXT} {link}", f"{first} {link}", first):
        if _longest(shorter) <= MAX_REPLY_BYTES:
            return shorter
    return reply_template(action, replace(service, name=service.name[:MAX_NAME_CHARS]), server, build, required)


_MINUTES_GROW: Final = len(str(_MAX_MINUTES)) - len(_MINUTES)
_NEXT_GROWS: Final = len(fill_reply(_NEXT, _MAX_MINUTES, LATEST_MS)) - len(_NEXT)


def _longest(template: str) -> int:
    """The characters of the longest line that a template can become."""
    grown = template.count(_MINUTES) * _MINUTES_GROW + template.count(_NEXT) * _NEXT_GROWS
    return len(template) + grown


def _own_text(text: str) -> str:
    """A text of the settings as it may stand in a template: printable ASCII without placeholders."""
    return "".join(char if " " <= char <= "~" and char not in "{}" else "?" for char in text)


def _shown_name(server: str) -> str:
    """The host name or the address of a server, without the prefix that its key has.

    The name is the sender's claim: nothing that no host name and no address has may reach the line.
    """
    while server.startswith(("helo:", "ip:")):
        server = server.partition(":")[2]
    return _NO_NAME.sub("?", server) or "this server"


def _longest_link() -> int:
    """The characters that the longest reply leaves for the service's link, with as much of a server as is of use."""
    build, server = Build(15, 2, 99_999, 9_999), "x" * _MIN_NAME_CHARS
    replies = [reply_template(action, Service("x" * MAX_NAME_CHARS, ""), server, build, build) for action in Action]
    return MAX_REPLY_BYTES - max(_longest(reply) for reply in replies)


MAX_LINK_CHARS: Final = _longest_link()
"""So that every reply, with a name as long as it may be, stays within SMTP's 510 bytes with the link whole."""
_TEXT = re.compile(r"[!-z|~](?:[ -z|~]*[!-z|~])?")
_LINK = re.compile(r"(?:https?://|mailto:)[!-z|~]+")


def service_faults(service: Service) -> Iterator[tuple[str, str]]:
    """What is wrong with a service's texts: field and rule. They are part of one line of SMTP and of templates."""
    if not _TEXT.fullmatch(service.name) or len(service.name) > MAX_NAME_CHARS:
        yield "name", f"must be 1 to {MAX_NAME_CHARS} printable ASCII characters in one line, without braces"
    if not _LINK.fullmatch(service.link) or len(service.link) > MAX_LINK_CHARS:
        rule = "must be an http, https or mailto address of printable ASCII characters, without blanks and braces"
        yield "link", f"{rule}, at most {MAX_LINK_CHARS} long"


def first_with(schedule: Sequence[ScheduledStage], action: Action) -> ScheduledStage | None:
    """The first of what is to come that throttles or blocks; one that is over at its own moment does neither."""
    for index, stage in enumerate(schedule):
        rate = stage.block_minutes_per_hour if action is Action.BLOCK else stage.throttle_minutes_per_hour
        lasts = index + 1 == len(schedule) or schedule[index + 1].starts_at > stage.starts_at
        if rate and lasts:
            return stage
    return None
