"""An edge that has nothing but a verdict's JSON and what `docs/concepts/ladder.md` says: no code of the product."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any


def answer(verdict: dict[str, Any], at: str) -> tuple[str, str | None]:
    """Action and reply line at a moment; moments as in the verdict: `2026-09-01T00:00:00.000Z`, which sort as texts."""
    begun = [verdict, *(stage for stage in verdict["schedule"] if stage["starts_at"] <= at)]
    coming = [stage for stage in verdict["schedule"] if stage["starts_at"] > at]
    now = begun[-1]
    throttle, block = now["throttle_minutes_per_hour"], now["block_minutes_per_hour"]
    if verdict["paused_until"] is not None and at < verdict["paused_until"]:
        return "ACCEPT", None
    digest = hashlib.sha256(f"{verdict['tenant_id']}/{verdict['server']}".encode()).digest()
    minute = datetime.strptime(at, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).minute
    place = (minute - int.from_bytes(digest[:8], "big") % 60) % 60
    if place >= block + throttle:
        return "ACCEPT", None
    stages = [
        stage["starts_at"]
        for stage in coming
        if stage["stage"] > now["stage"] or stage["throttle_minutes_per_hour"] + stage["block_minutes_per_hour"]
    ]
    following = f" Next stage {stages[0]}." if stages else ""
    action, minutes = ("block", block) if place < block else ("throttle", throttle)
    text = verdict[f"smtp_template_{action}"].replace("{minutes}", str(minutes)).replace("{next}", following)
    return action.upper(), text
