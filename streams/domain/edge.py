"""What an edge needs of a verdict: the action of any minute, and the reply line that goes with it.

The schedule in a verdict is enough to enforce every stage to come on time, without another verdict and without the
service.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from streams.domain.outputs.replies import fill_reply
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.ladder import Action
from streams.domain.time import MINUTE_MS


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


def hour_offset(tenant_id: str, server: str) -> int:
    """The minute of the hour at which this server's affected minutes begin, so that not all servers share one."""
    digest = hashlib.sha256(f"{tenant_id}/{server}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 60


def minute_action(offset: int, throttle: int, block: int, moment: int) -> Action:
    """What applies in the minute of `moment` (UTC milliseconds) at these rates."""
    place = (moment // MINUTE_MS % 60 - offset) % 60
    if place < block:
        return Action.BLOCK
    return Action.THROTTLE if place < block + throttle else Action.ACCEPT
