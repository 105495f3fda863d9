"""The policy in force in another mode: how an operator stops enforcement for everybody, and begins it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from streams.domain.policy.policy import Mode, Policy
from streams.policies.publishing import Draft, publish_draft
from streams.policies.topic import PolicyTopic, Published
from streams.wire.policy import from_millis, policy_yaml, to_millis

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


async def publish_mode(
    topic: PolicyTopic, app_id: str, configured: Sequence[Policy], mode: Mode, published_by: str
) -> tuple[Policy, list[Policy]]:
    """Publish the policy that governs in another mode; it takes effect `MODE_LEAD` after it is written.

    Returns:
        The new version, and those published before that take effect after it with yet another mode.

    Raises:
        PublicationError: another version takes effect at the very moment.
        KafkaError: see `publish_audited`.
    """

    def draft(known: Published, now: datetime) -> Draft:
        policy = in_mode(configured, known.policies, mode, now)
        return Draft(policy, policy_yaml(policy))

    changed, known = await publish_draft(topic, app_id, draft, configured, published_by)
    later = [policy for policy in known.policies if policy.effective_at > changed.effective_at]
    return changed, [policy for policy in later if policy.mode is not mode]
