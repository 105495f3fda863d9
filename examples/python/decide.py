"""What an edge does with mail of a server by its verdict, at any moment."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from typing import Any

TEXTS = {"THROTTLE": ("450 4.7.230 ", "throttled"), "BLOCK": ("550 5.7.230 ", "blocked")}


def decide(key: str, verdict: dict[str, Any], at: datetime) -> tuple[str, str | None]:
    """What is done with mail of this server at a moment, and the SMTP reply where it is not accepted."""
    now, following = verdict, None
    for stage in verdict["schedule"]:  # the stages to come are in the verdict: they begin without another one
        if stage["starts_at"] <= at:
            now = stage
        elif stage["stage"] > now["stage"] or stage["throttle_minutes_per_hour"] or stage["block_minutes_per_hour"]:
            following = stage["starts_at"]
            break
    throttle, block = now["throttle_minutes_per_hour"], now["block_minutes_per_hour"]
    if verdict["paused_until"] is not None and at < verdict["paused_until"]:
        throttle = block = 0
    # The minutes of a server begin at a minute of its own, so that not all servers share one.
    offset = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 60
    minute = (at.minute - offset) % 60
    if minute >= block + throttle:
        return "ACCEPT", None
    action, minutes = ("BLOCK", block) if minute < block else ("THROTTLE", throttle)
    return action, reply(verdict[f"smtp_template_{action.lower()}"], action, minutes, following)


def reply(template: str | None, action: str, minutes: int, following: datetime | None) -> str:
    """One line that SMTP can carry, whatever the verdict's template has in it."""
    code, verb = TEXTS[action]
    if not template or not template.startswith(code) or not template[len(code) :].strip():
        return f"{code}Connecting Exchange server version is out-of-date; connection {verb} for {minutes} mins/hr."
    date = following.isoformat(timespec="milliseconds").replace("+00:00", "Z") if following else ""
    text = template.replace("{minutes}", str(minutes)).replace("{next}", date and f" Next stage {date}.")
    return re.sub("[^ -~]", "?", text)[:510].rstrip()
