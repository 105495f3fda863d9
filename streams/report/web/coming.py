"""What comes: policies that are announced, and what they will do to servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable


class AnnouncedPolicy(NamedTuple):
    """A policy or a catalogue of builds that begins later; moments in UTC milliseconds."""

    name: str
    """`ID/VERSION` of a policy, `catalogue/VERSION` of a catalogue."""
    effective_at: int
    announced_at: int
    mode: str | None
    """OBSERVE, REPORT or ENFORCE; None of a catalogue."""


class Hit(NamedTuple):
    """A server that stands elsewhere once a policy has begun."""

    server: str
    build: str | None
    finding_before: str
    finding_after: str
    stage_before: int
    stage_after: int
    action_before: str
    action_after: str
    reason: str
    remedy_name: str | None
    """The update that it needs then; None where it needs none, or no update is accepted then."""
    remedy_kb: str | None


@runtime_checkable
class ComingPort(Protocol):
    """The policies in force and those that are announced."""

    def quota_days(self, now: int) -> int:
        """Days of pause that a tenant has in a calendar year, by the policy in force at a moment."""

    def announced(self, now: int) -> list[AnnouncedPolicy]:
        """What begins after a moment, the next first."""

    def hits(self, reports: Sequence[dict[str, Any]], name: str, now: int) -> list[Hit]:
        """Those of some servers, by their reports, that stand elsewhere once what is announced has begun.

        Raises:
            KeyError: nothing of this name is announced.
        """
