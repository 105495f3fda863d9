"""The policy in force in another mode: how an operator stops enforcement for everybody, and begins it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from streams.domain.policy.policy import Mode, Policy
from streams.wire.policy import from_millis, to_millis

MODE_LEAD: Final = timedelta(seconds=5)
"""How far ahead a change of mode begins, so that every worker has read it by then."""


def governing_policy(configured: Sequence[Policy], published: Sequence[Policy], at: datetime) -> Policy:
    """The policy that governs at a moment."""
    known = sorted([*configured, *published], key=lambda policy: policy.effective_at)
    begun = [policy for policy in known if policy.effective_at <= at]
    if len(configured) == 1 and not any(policy in published for policy in begun):
        return configured[0]
    return begun[-1] if begun else known[0]


def in_mode(configured: Sequence[Policy], published: Sequence[Policy], mode: Mode, now: datetime) -> Policy:
    """The policy that governs now as a new version with another mode, which begins soon."""
    governing = governing_policy(configured, published, now)
    versions = [policy.version for policy in published if policy.policy_id == governing.policy_id]
    return replace(
        governing,
        version=max([governing.version, *versions]) + 1,
        mode=mode,
        effective_at=from_millis(to_millis(now + MODE_LEAD)),
    )
