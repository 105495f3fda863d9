"""Addresses of mailboxes and names of hosts, as every mail server takes them."""

from __future__ import annotations

import re
from typing import Final

MOST_MAILBOX_CHARS: Final = 254
"""RFC 5321 4.5.3.1.3, without the angle brackets."""
MOST_LOCAL_BYTES: Final = 64
"""RFC 5321 4.5.3.1.1."""
# No quoted local part, no address literal, no character that a header would fold at.
_ATOM: Final = r"[^\s\x00-\x20\x7f\"(),.:;<>@\[\\\]]+"
_LABEL: Final = r"[^\W_](?:[^\W_-]|-(?=[^\W_]|-)){0,62}"
_MAILBOX: Final = re.compile(rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?:{_LABEL}\.)+(?!\d){_LABEL}")
_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_MOST_HOST_CHARS: Final = 253


def is_mail_address(text: str) -> bool:
    """Whether a text is the address of a mailbox, such as admin@contoso.com."""
    if len(text) > MOST_MAILBOX_CHARS or not text.isprintable():
        return False
    found = _MAILBOX.fullmatch(text)
    return found is not None and len(found["local"].encode("utf-8", "replace")) <= MOST_LOCAL_BYTES


def is_host_name(text: str) -> bool:
    """Whether a text is the name of a host in ASCII, such as mail.contoso.com; no address."""
    return len(text) <= _MOST_HOST_CHARS and _HOST.fullmatch(text) is not None
