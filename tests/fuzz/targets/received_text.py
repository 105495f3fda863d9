"""`tes inspect` over any file."""

from __future__ import annotations

import json

from streams.cli.inspect import inspect
from streams.cli.mail_text import ReceivedText, UnreadableError, decoded, read_received
from tests.fuzz.targets.service import START, rulebook


def check(data: bytes) -> None:
    """It is refused with a short reason, or the values are parts of the text, and what is said of them is JSON."""
    found = read_or_refuse(data)
    if isinstance(found, str):
        assert 0 < len(found) < 300
        return
    assert found.values
    assert len(found.read) < 100
    text = decoded(data).replace("\r\n", "\n").replace("\r", "\n")
    if "JSON" not in found.read and "Outlook" not in found.read:
        assert sum(map(len, found.values)) <= len(text)
        assert all(value in text for value in found.values if "\n" not in value)
    json.dumps(inspect(found.values, rulebook(), START)).encode()


def read_or_refuse(data: bytes) -> ReceivedText | str:
    """What is read, or why nothing is."""
    try:
        return read_received(data)
    except UnreadableError as error:
        return str(error)
