"""Policies on the wire and for people: domain object, Avro-shaped record and YAML say the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from streams.domain.exchange.catalogue import Catalogue
from streams.domain.policy.content import PolicyError, check_content
from streams.domain.policy.policy import Policy
from streams.domain.time import day_of, days_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SAME = (
    "policy_id",
    "version",
    "mode",
    "critical_patches",
    "ladder",
    "pause_days_per_year",
    "settle_hours",
    "stamp_holds_days",
    "stale_after_days",
    "forget_after_days",
    "notify_before_days",
)


def to_millis(moment: datetime) -> int:
    """UTC milliseconds of an aware moment."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_millis(milliseconds: int) -> datetime:
    """The aware UTC moment of some milliseconds."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


def policy_key(policy_id: str, version: int) -> bytes:
    """The record's key. Every version has its own: compaction must not take away one that still governs old events."""
    return f"{policy_id}/{version}".encode()


def content_of(policy: Policy) -> dict[str, Any]:
    """The policy as the tree of its YAML file, every field given."""
    patches = policy.critical_patches
    return {
        "policy_id": policy.policy_id,
        "version": policy.version,
        "effective_at": policy.effective_at,
        "mode": policy.mode.value,
        "scope": {
            "connector_types": sorted(kind.value for kind in policy.connector_types),
            "rollout": {product.value: day for product, day in policy.rollout.items()},
            "cohort_percent": policy.cohort_percent,
        },
        "products": {
            product.value: {"accept": rule.accept.value}
            | ({"floors": [str(build) for build in rule.floors]} if rule.floors else {})
            for product, rule in policy.products.items()
        },
        "critical_patches": patches
        and {"grace_days": patches.grace_days, "known_exploited_only": patches.known_exploited_only},
        "ladder": [
            {
                "from_day": stage.from_day,
                "throttle_minutes_per_hour": stage.throttle_minutes_per_hour,
                "block_minutes_per_hour": stage.block_minutes_per_hour,
            }
            for stage in policy.ladder
        ],
        "pause_days_per_year": policy.pause_days_per_year,
        "regression": {"resume_within_days": policy.resume_within_days},
        "settle_hours": policy.settle_hours,
        "stamp_holds_days": policy.stamp_holds_days,
        "stale_after_days": policy.stale_after_days,
        "forget_after_days": policy.forget_after_days,
        "notify_before_days": list(policy.notify_before_days),
    }


def policy_yaml(policy: Policy) -> str:
    """The policy as a YAML file that `tes policy check` accepts."""
    content = content_of(policy)
    content["effective_at"] = policy.effective_at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return yaml.safe_dump(content, sort_keys=False, width=120)


def policy_record(policy: Policy, published_by: str | None = None, source: str = "") -> dict[str, Any]:
    """The Avro-shaped record of a policy; `source` is the text that it was written in."""
    content = content_of(policy)
    scope = content.pop("scope")
    return content | {
        "effective_at": to_millis(policy.effective_at),
        "connector_types": scope["connector_types"],
        "rollout": {name: days_of(day) for name, day in scope["rollout"].items()},
        "cohort_percent": scope["cohort_percent"],
        "products": {name: {"floors": []} | rule for name, rule in content["products"].items()},
        "resume_within_days": content.pop("regression")["resume_within_days"],
        "published_at": to_millis(policy.published_at) if policy.published_at else None,
        "published_by": published_by,
        "source": source,
    }


def policy_of(record: dict[str, Any], catalogue: Catalogue) -> Policy:
    """The policy in an Avro-shaped record, checked like one of a file.

    Raises:
        PolicyError: with every error found.
    """
    content: dict[str, Any] = {name: record[name] for name in _SAME}
    source = f"{record['policy_id'][:80]}/{record['version']}"
    published_at = record["published_at"]
    try:
        content["effective_at"] = from_millis(record["effective_at"])
        published = None if published_at is None else from_millis(published_at)
        rollout = {name: day_of(days) for name, days in record["rollout"].items()}
    except OverflowError as error:
        raise PolicyError(
            [f"{source}: effective_at, published_at, rollout: {error}: must be before year 10000"]
        ) from None
    content["scope"] = {
        "connector_types": record["connector_types"],
        "rollout": rollout,
        "cohort_percent": record["cohort_percent"],
    }
    content["products"] = {
        name: {"accept": rule["accept"]} | ({"floors": rule["floors"]} if rule["floors"] else {})
        for name, rule in record["products"].items()
    }
    content["regression"] = {"resume_within_days": record["resume_within_days"]}
    return replace(check_content(content, source, {}, catalogue), published_at=published)
