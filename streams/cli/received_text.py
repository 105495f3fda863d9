"""Finds the `Received` values in what a person pastes or pipes: a message, its header, or the bare lines."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from streams.domain.headers import parse_received

# An IPv6 address at the start of a line is no field: `fd9f:af1c::1`.
_FIELD = re.compile(r"(?![0-9A-Fa-f]{1,4}:\S)([A-Za-z][A-Za-z0-9_.-]*)[ \t]*:")
_NEW_LINE = re.compile(r"\r\n|\r|\n")
_BARE_START = re.compile(r"(?:from|by)\s", re.IGNORECASE)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def decoded(raw: bytes) -> str:
    """Text of a file as Windows or Unix writes it; what is not valid is replaced, never an error."""
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    return raw.decode(encoding, "replace")


def received_values(text: str) -> list[str]:
    """The `Received` values, topmost first, folds kept as they stand.

    Tolerates what copying does to a header: an mbox line or blank lines before it, an indent common to all lines,
    folds that lost their blanks, blank lines between bare `Received` lines, and values without the field's name.
    """
    lines = _NEW_LINE.split(text)
    fields = _unfolded(_header(lines))
    return [value for name, value in fields if name.lower() == "received"] or _bare_values(lines)


def _header(lines: list[str]) -> Iterator[str]:
    """The lines up to the body, without a common indent; only `Received` fields may have blank lines between them."""
    indent = None
    only_received, after_blank = True, False
    for line in lines:
        if not line.strip():
            after_blank = indent is not None
            continue
        if indent is None:
            if line.startswith("From "):
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
