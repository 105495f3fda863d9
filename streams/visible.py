r"""Text on its way out: to a terminal, to a spreadsheet, to whoever reads JSON.

Names, header lines and records are claims of strangers. A terminal obeys control characters, a person is deceived by
marks that turn the direction of text or take no room, and a spreadsheet calculates what begins as a formula. So what is
not plainly visible is shown as an escape: `\x1b`, `\u202e`, `\U000e0041`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import orjson

_PLAIN = re.compile(r"[ -~]*")
_PLAIN_LINES = re.compile(r"[\n -~]*")
_FOLD = re.compile(r"\r?\n[ \t]+")
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What Python calls printable and nobody sees: fillers, joiners, and selectors of variants (Default_Ignorable)."""
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
"""How a cell begins that a spreadsheet may calculate, by OWASP's rule; the wide forms too."""
_FORMULA_INSIDE = re.compile(r"([;,|]\s*)([=+\-@\uff1d\uff0b\uff0d\uff20])")
"""The same behind what a spreadsheet may take for the end of a cell, as its country has it."""
_HARMLESS = re.compile("[A-Za-z0-9_./:()][A-Za-z0-9_./:() @+=-]*")
"""Most cells: visible, and nothing in them that begins a formula or ends a cell."""
_NUMBERS: Final = (int, float)
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    """One line in which every character can be seen: others as escapes, a header's fold as a blank."""
    if _PLAIN.fullmatch(text):
        return text
    return _escaped(_FOLD.sub(" ", text), "")


def visible_lines(text: str) -> str:
    """Text of several lines in which every character can be seen, line ends aside."""
    if _PLAIN_LINES.fullmatch(text):
        return text
    return _escaped(text, "\n")


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet calculates and no terminal obeys; a number stays one.

    By OWASP's rule against formulas an apostrophe is put before text that begins as one, after blanks too; and behind
    what a spreadsheet may take for a separator.
    """
    if value is None or isinstance(value, _NUMBERS):
        return value
    text = value if type(value) is str else str(value)
    return _known_cell(text) if len(text) <= _KNOWN_CHARS else _cell(text)


def _cell(text: str) -> str:
    if _HARMLESS.fullmatch(text):
        return text
    return _FORMULA_INSIDE.sub(r"\1'\2", visible(f"'{text}" if _FORMULA.match(text) else text))


_KNOWN_CHARS: Final = 256
"""Of a text that is remembered: thousands of long ones would take all memory."""
_known_cell = lru_cache(4_096)(_cell)  # an export says the same statuses, builds and updates again and again


def visible_json(value: Any) -> bytes:
    r"""JSON in UTF-8 that means the same; what cannot be seen is `\u` with four digits."""
    raw = orjson.dumps(value)
    if raw.isascii() and b"\x7f" not in raw:
        return raw
    return "".join(char if _is_visible(char) else _json_escape(char) for char in raw.decode()).encode()


def _escaped(text: str, kept: str) -> str:
    return "".join(char if char in kept or _is_visible(char) else _escape(char) for char in text)


def _is_visible(char: str) -> bool:
    return char.isprintable() and not _UNSEEN.match(char)


def _escape(char: str) -> str:
    number = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
