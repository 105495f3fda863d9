"""Rows and settings for people: aligned columns on stdout."""

from __future__ import annotations

import json
from collections.abc import Sequence

from streams.settings.base import CheckedSettings
from streams.visible import visible


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, the heading first, each column as wide as its widest cell; cells may hold any text."""
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_settings(settings: CheckedSettings, *, as_json: bool) -> None:
    """Print every setting with its variable, secrets redacted: a line each, or one JSON object."""
    shown = settings.shown()
    if as_json:
        print(json.dumps(shown))
        return
    for variable, value in shown.items():
        print(f"{variable:30} {visible(','.join(value) if isinstance(value, tuple) else str(value))}")
