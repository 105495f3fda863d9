"""How much of a sender's text is kept."""

from __future__ import annotations

from typing import Final

MAX_TEXT_CHARS: Final = 998
"""Of a message id, a connector, a greeting, a TLS subject, or a text in a command: a header line has no more."""
MAX_EVIDENCE_CHARS: Final = 2_000
"""Of the header line that is kept as evidence."""
MAX_SERVER_CHARS: Final = 255
"""Of a server's name."""
CUT: Final = "…[cut]"
"""Stands at the end of a text that was longer; it counts as part of what is kept."""


def cut(text: str, most: int = MAX_TEXT_CHARS) -> str:
    """The text, or as much of its beginning as `most` characters hold together with the mark."""
    return text if len(text) <= most else text[: most - len(CUT)] + CUT


MAX_KEY_CHARS: Final = 64
