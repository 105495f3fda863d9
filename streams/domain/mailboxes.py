"""Addresses of mailboxes, as every mail server takes them."""

from __future__ import annotations

import re
from typing import Final

MOST_MAILBOX_CHARS: Final = 254
"""RFC 5321 4.5.3.1.3, without the angle brackets."""
# No quoted local part, no address literal, no character that a header would fold at.
_MAILBOX: Final = re.compile(
    r"[^\s\x00-\x20\x7f\"(),:;<>@\[\\\]]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W_][\w-]{0,62}"
)


def is_mail_address(text: str) -> bool:
    """Whether a text is the address of a mailbox, such as admin@contoso.com."""
    return len(text) <= MOST_MAILBOX_CHARS and text.isprintable() and _MAILBOX.fullmatch(text) is not None
