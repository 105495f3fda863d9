"""Finds the `Received` values in what a person pastes or pipes: a message, its header, or the bare lines."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from streams.domain.exchange.received import parse_received

# An IPv6 address at the start of a line is no field: `fd9f:af1c::1`.
_FIELD = re.compile(r"(?![0-9A-Fa-f]{1,4}:\S)([A-Za-z][A-Za-z0-9_.-]*)[ \t]*:")
_RECEIVED = re.compile(r"((?:>[ ]?)*)[ \t]*Received[ \t]*:", re.IGNORECASE)
_QUOTE = re.compile(r"[ \t]*(?:>[ ]?)+")
_NEW_LINE = re.compile(r"\r\n|\r|\n")
_BARE_START = re.compile(r"(?:from|by)\s", re.IGNORECASE)
_ATTACHED = re.compile(r"Content-Type[ \t]*:[ \t]*(?:message/rfc822|text/rfc822-headers)", re.IGNORECASE)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_OUTLOOK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_HEADER_STREAMS = (("__substg1.0_007D001F", "utf-16-le"), ("__substg1.0_007D001E", "latin-1"))
"""Where a .msg file keeps the header that a message came with ([MS-OXOMSG] 2.2.1.61), and in which encoding."""


class UnreadableError(ValueError):
    """What is no message, header or `Received` lines; the message says what it is instead, and shows nothing of it."""


@dataclass(frozen=True, slots=True)
class ReceivedText:
    """The `Received` values, topmost first, folds kept as they stand; `read` says in which part of the input."""

    values: list[str]
    read: str


def read_received(raw: bytes) -> ReceivedText:
    """The `Received` values of the outermost message in a file; nothing of a body or of an attached message counts.

    Reads messages (also the first of an mbox file, and Outlook's .msg), headers as they are copied (quoted, indented,
    with lost folds, behind other text), bare `Received` lines and values, and header lists in JSON.

    Raises:
        UnreadableError: there are none, and why.
    """
    if raw.startswith(_OUTLOOK):
        found = _read_text(_outlook_header(raw))
        return ReceivedText(found.values, "header in the Outlook message")
    text = decoded(raw)
    if text.lstrip().startswith(("{", "[")):
        found_in_json = _read_json(text)
        if found_in_json is not None:
            return found_in_json
    try:
        return _read_text(text)
    except UnreadableError:
        if b"\0" in raw[:1024] and not raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise UnreadableError("is a binary file: save the message as .eml or .msg, or copy its header") from None
        raise


def decoded(raw: bytes) -> str:
    """Text of a file as Windows or Unix writes it; what is not valid is replaced, never an error."""
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    return raw.decode(encoding, "replace")


def _read_text(text: str) -> ReceivedText:
    lines = _split(text)
    written = [line for line in lines if line.strip()]
    if written and all(_QUOTE.match(line) for line in written):
        return ReceivedText(_read_lines([_QUOTE.sub("", line, count=1) for line in lines]).values, "quoted header")
    return _read_lines(lines)


def _split(text: str) -> list[str]:
    return _NEW_LINE.split(text)


def _read_lines(lines: list[str]) -> ReceivedText:
    first = next((line.lstrip() for line in lines if line.strip()), "")
    is_mailbox = first.startswith("From ") and not _reads_as_stamp(first)
    if is_mailbox or _FIELD.match(first):
        fields = _unfolded(_header(lines))
        values = _received_of(fields)
        if not values:
            raise UnreadableError(f"its header has no Received field{_elsewhere(lines)}")
        if is_mailbox:
            return ReceivedText(values, "header of the first message in the mailbox file")
        is_bare = len(values) == len(fields)
        return ReceivedText(values, "Received lines" if is_bare else "header of the message")
    if values := _bare_values(lines):
        return ReceivedText(values, "Received values without the field's name")
    return _behind_other_text(lines)


def _received_of(fields: list[tuple[str, str]]) -> list[str]:
    return [value for name, value in fields if name.lower() == "received"]


def _elsewhere(lines: list[str]) -> str:
    """What to do where a message has no `Received` field of its own, and something in it does."""
    if any(_ATTACHED.match(line) for line in lines):
        return "; the message attached to it has a header of its own: save that one, and inspect it"
    for number, line in enumerate(lines, 1):
        if _RECEIVED.match(line):
            return f"; line {number} belongs to another message in its body: to inspect that header, pass it alone"
    return ""


def _behind_other_text(lines: list[str]) -> ReceivedText:
    """A header that is copied with other text before it, as reports on mail that was not delivered show it."""
    for index, line in enumerate(lines):
        found = _RECEIVED.match(line)
        if found is None:
            continue
        quote = found[1].rstrip()
        part = []
        for other in lines[index:]:
            if quote and not other.startswith(quote[0]):
                break
            part.append(_QUOTE.sub("", other, count=1) if quote else other)
        values = _received_of(_unfolded(_header(part)))
        if values and _reads_as_stamp(values[0]):
            return ReceivedText(values, f"header from line {index + 1} on, after other text")
        break
    raise UnreadableError("no Received line found")


def _header(lines: list[str]) -> Iterator[str]:
    """The lines up to the body, without a common indent; only `Received` fields may have blank lines between them."""
    indent = None
    only_received, after_blank, in_mailbox = True, False, False
    for line in lines:
        if not line.strip():
            after_blank = indent is not None
            if in_mailbox:
                return  # its messages have whole headers, so the first blank line ends one
            continue
        if indent is None:
            if line.startswith("From "):
                in_mailbox = True
                continue
            indent = line[: len(line) - len(line.lstrip())]
        line = line.removeprefix(indent)
        field = _FIELD.match(line)
        is_received = field is not None and field[1].lower() == "received"
        if after_blank and not (only_received and is_received):
            return
        after_blank = False
        only_received = only_received and (is_received or field is None)
        yield line


def _unfolded(lines: Iterator[str]) -> list[tuple[str, str]]:
    fields: list[tuple[str, list[str]]] = []
    for line in lines:
        field = None if line[0] in " \t" else _FIELD.match(line)
        if field is not None:
            fields.append((field[1], [line[field.end() :].lstrip()]))
        elif fields:
            fields[-1][1].append(line)
    return [(name, "\n".join(parts)) for name, parts in fields]


def _bare_values(lines: list[str]) -> list[str]:
    """The lines as values without the field's name; none, unless the first reads as if a mail server wrote it."""
    values: list[list[str]] = []
    has_date = True
    for line in lines:
        if not line.strip():
            continue
        if has_date and _BARE_START.match(line):
            values.append([line])
            has_date = False
        elif values:
            values[-1].append(line)
        else:
            return []
        has_date = has_date or ";" in line
    joined = ["\n".join(parts) for parts in values]
    return joined if joined and _reads_as_stamp(joined[0]) else []


def _reads_as_stamp(value: str) -> bool:
    found = parse_received(value)
    has_time = ":" in value.rpartition(";")[2]
    return found.protocol is not None or (found.by_host is not None and ";" in value and has_time)


def _read_json(text: str) -> ReceivedText | None:
    """The values of a header list in JSON; None where the text is no JSON.

    Raises:
        UnreadableError: it is, and has no header list, none with `Received`, or several messages.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        try:
            json.loads(text.strip().splitlines()[0])
        except (ValueError, RecursionError):
            return None
        raise UnreadableError("holds several JSON values: give one message") from None
    fields = None
    with suppress(RecursionError, json.JSONDecodeError):
        fields = _fields_of(content)
    if fields is None:
        raise UnreadableError("is JSON without a header list: expected names with values, header lines, or `received`")
    values = _received_of(fields)
    if not values:
        raise UnreadableError("its JSON header list has no Received field")
    return ReceivedText(["\n".join(_split(value)) for value in values], "JSON header list")


def _fields_of(content: Any) -> list[tuple[str, str]] | None:
    """Names and values of a header list, as Microsoft Graph, mail services and this service's own events write it."""
    if isinstance(content, dict):
        by_name = {name.lower(): value for name, value in content.items()}
        for name in ("internetmessageheaders", "headers", "message-headers", "payload", "value"):
            value = by_name.get(name)
            if isinstance(value, str):  # one text: the header, or a list written as JSON once more
                return _fields_of(json.loads(value)) if value[:1] in ("[", "{") else _unfolded(_header(_split(value)))
            if isinstance(value, list | dict):
                return _fields_of(value)
        found = by_name.get("received")
        values = [found] if isinstance(found, str) else found
        if isinstance(values, list) and all(isinstance(value, str) for value in values):
            return [("Received", value) for value in values]
        return None
    if not isinstance(content, list) or not content:
        return None
    if all(isinstance(item, str) for item in content):
        fields = _unfolded(line for item in content for line in [item.strip() or "-"] if _FIELD.match(line))
        return fields or [("Received", item) for item in content if _reads_as_stamp(item)] or None
    fields = [pair for item in content if (pair := _pair(item)) is not None]
    if len(fields) == len(content):
        return fields
    if len(content) == 1:
        return _fields_of(content[0])
    if not fields and all(isinstance(item, dict) for item in content):
        raise UnreadableError(f"holds {len(content)} messages: give one")
    return None


def _pair(item: Any) -> tuple[str, str] | None:
    """One field as `{"name": …, "value": …}` or `[name, value]`."""
    if isinstance(item, dict):
        by_name = {name.lower(): value for name, value in item.items()}
        item = [by_name.get("name"), by_name.get("value")]
    if isinstance(item, list) and len(item) == 2 and all(isinstance(part, str) for part in item):
        return item[0], item[1]
    return None


def _outlook_header(raw: bytes) -> str:
    """The header in a .msg file, which is that of the message itself: attached messages have streams of their own."""
    import olefile  # only these files need it

    try:
        with olefile.OleFileIO(io.BytesIO(raw)) as file:
            for name, encoding in _HEADER_STREAMS:
                if file.exists(name):
                    header = file.openstream(name).read().decode(encoding, "replace").rstrip("\0")
                    if header.strip():
                        # Outlook puts a line of its own before some headers.
                        return re.sub(r"\AMicrosoft Mail Internet Headers Version [0-9.]+\r?\n", "", header)
    except Exception as error:  # noqa: BLE001 - a broken file fails in many ways
        raise UnreadableError(f"is not a readable Outlook message: {type(error).__name__}") from None
    raise UnreadableError("is an Outlook message without an Internet header")
