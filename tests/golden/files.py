"""The golden files by name, and their texts as the product makes them now."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.golden.contracts import edge_settings, events, notify_settings, report_settings, schemas, settings, topics
from tests.golden.decisions import simulations
from tests.golden.helps import helps
from tests.golden.lives import lives
from tests.golden.metrics import metrics
from tests.golden.stores import state_rows

FILES: dict[str, Callable[[], Any]] = {
    "edge_settings.json": edge_settings,
    "notify_settings.json": notify_settings,
    "report_settings.json": report_settings,
    "events.json": events,
    "help.txt": helps,
    "lives.json": lives,
    "metrics.txt": metrics,
    "schemas.json": schemas,
    "settings.json": settings,
    "simulate.json": simulations,
    "state_rows.json": state_rows,
    "topics.json": topics,
}
"""What makes the content of each: a text, or what JSON holds."""


def text_of(name: str) -> str:
    """The text that a file should have."""
    content = FILES[name]()
    if isinstance(content, str):
        return content
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
