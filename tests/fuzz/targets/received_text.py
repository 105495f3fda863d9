"""`tes inspect` over any file."""

from __future__ import annotations

import json

from streams.cli.inspect import inspect
from streams.cli.received_text import decoded, received_values
from tests.fuzz.targets.service import START, rulebook


def check(data: bytes) -> None:
    """Nothing raises; the values are parts of the text, and what is said of them can be written as JSON."""
    text = decoded(data)
    values = received_values(text)
    assert sum(map(len, values)) <= len(text)
    assert all(value in text.replace("\r\n", "\n").replace("\r", "\n") for value in values if "\n" not in value)
    if values:
        json.dumps(inspect(values, rulebook(), START)).encode()
