"""Reads reports about mail that was not delivered (RFC 3464); whatever a stranger wrote is read in bounded time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes, message_from_string
from email.policy import Compat32
from enum import StrEnum
from typing import Any, Final, NamedTuple

from streams.notices.model import MOST_WHY_CHARS
from streams.visible import visible

MOST_BYTES: Final = 1_000_000
"""Of a report; what it is about is a mail of ours, which is far smaller."""
_MOST_LINES: Final = 10_000
"""That are read; a mail of ours has far fewer, and what it is about stands before it."""
_MOST_FIELD_CHARS: Final = 2_000
"""Of a header that are read."""
_MOST_PARTS: Final = 20
_MOST_GROUPS: Final = 100
_STATUSES: Final = ("message/delivery-status", "message/global-delivery-status")
_RETURNED: Final = (
    "text/rfc822-headers",
    "message/rfc822",
    "message/rfc822-headers",
    "message/global",
    "message/global-headers",
)
_STATUS: Final = re.compile(r"\s*([245])\.(\d{1,3})\.(\d{1,3})\b")
_REPLY: Final = re.compile(r"\s*([45]\d\d)\b")
_MESSAGE_ID: Final = re.compile(r"<(msg_[0-9a-f]{10,60})@")


class ReportKind(StrEnum):
    """What came back.

    PERMANENT: the mail will never be delivered. TEMPORARY: it is late, or somebody gave up for now. OTHER: it is no
    report that anything failed, as the answer of a person or of a machine.
    """

    PERMANENT = "permanent"
    TEMPORARY = "temporary"
    OTHER = "other"


class Report(NamedTuple):
    """What a report says.

    Attributes:
        kind: whether the mail may still be delivered.
        why: in the words of whoever refused it; visible, at most `MOST_WHY_CHARS` characters.
        code: the answer of the server that refused it, where the report has it.
        message_id: the ledger's id of the mail that it is about; None where the report does not say.
    """

    kind: ReportKind
    why: str = ""
    code: int | None = None
    message_id: str | None = None


NO_REPORT: Final = Report(ReportKind.OTHER)


class _Bounded(Compat32):
    """Headers of bounded length: the library splits their parameters in a time that grows with the square of it."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, value[:_MOST_FIELD_CHARS]


_POLICY: Final = _Bounded()


def read_report(content: bytes) -> Report:
    """What a mail says about one of ours; what is no report about a failure, or cannot be read, is `OTHER`."""
    try:
        mail = message_from_bytes(_first_lines(content), policy=_POLICY)
        inner: Any = mail.get_payload()
        if mail.get_content_type() != "multipart/report" or not isinstance(inner, list):
            return NO_REPORT
        parts = inner[:_MOST_PARTS]
        found = _worst(group for part in parts if part.get_content_type() in _STATUSES for group in _groups(part))
        return found._replace(message_id=_message_id(parts)) if found.kind is not ReportKind.OTHER else found
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # The library's parser was written for mail of this world; this one is of another.
        return NO_REPORT


def _first_lines(content: bytes) -> bytes:
    """So many lines: the library looks at each once for every part that it is in."""
    lines = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n", _MOST_LINES)
    return b"\n".join(lines[:_MOST_LINES])


def _worst(groups: Iterator[Any]) -> Report:
    """The gravest of what is said about each recipient."""
    found = NO_REPORT
    for group in groups:
        action = str(group.get("Action", "")).strip().split(" ")[0].lower()
        status = _STATUS.match(str(group.get("Status", "")))
        if action == "failed" and status is not None and status[1] == "5":
            return _report(ReportKind.PERMANENT, group, status)
        if action in ("failed", "delayed"):
            found = _report(ReportKind.TEMPORARY, group, status)
    return found


def _report(kind: ReportKind, group: Any, status: re.Match[str] | None) -> Report:
    said = str(group.get("Diagnostic-Code", ""))
    text = " ".join(said.partition(";")[2].split()) or " ".join(said.split())
    reply = _REPLY.match(text)
    words = text if status is None or status[0].strip() in text else f"{status[0].strip()} {text}".strip()
    why = visible(f"it came back: {words[: 2 * MOST_WHY_CHARS]}")
    return Report(kind, why[:MOST_WHY_CHARS], None if reply is None else int(reply[1]))


def _groups(part: Any) -> Iterator[Any]:
    """The groups of fields of a status; the first one is about all recipients, and has neither action nor status."""
    inner = part.get_payload()
    if not isinstance(inner, list):
        inner = [
            message_from_string(text, policy=_POLICY)
            for text in str(inner).replace("\r\n", "\n").split("\n\n")[:_MOST_GROUPS]
        ]
    for group in inner[:_MOST_GROUPS]:
        yield group
        # The parser takes what it does not know, as the status of RFC 6533, for a mail: its body has the other groups.
        body = group.get_payload()
        if isinstance(body, str) and body.strip():
            for text in body.replace("\r\n", "\n").split("\n\n")[:_MOST_GROUPS]:
                yield message_from_string(text, policy=_POLICY)


def _message_id(parts: list[Any]) -> str | None:
    for part in parts:
        if part.get_content_type() not in _RETURNED:
            continue
        inner = part.get_payload()
        if isinstance(inner, list):
            returned = inner[0] if inner else None
        else:
            text = part.get_payload(decode=True)
            returned = None if text is None else message_from_bytes(text, policy=_POLICY)
        named = None if returned is None else _MESSAGE_ID.search(str(returned.get("Message-ID", ""))[:1_000])
        if named is not None:
            return named[1]
    return None
