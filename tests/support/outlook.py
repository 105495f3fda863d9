"""Makes Outlook's .msg files, as far as `tes inspect` reads them."""

from __future__ import annotations

import struct

SECTOR = 512
FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
SMALLEST = 4096
"""Shorter streams are kept in another way, so this one is padded."""


def outlook_message(header: str, encoding: str = "utf-16-le", stream: str | None = None) -> bytes:
    """A compound file ([MS-CFB]) with one stream: the header that the message came with, and a field to pad it."""
    if stream is None:
        stream = "__substg1.0_007D001F" if encoding == "utf-16-le" else "__substg1.0_007D001E"
    content = f"{header}X-Padding: {'x' * SMALLEST}".encode(encoding)
    content += b"\0" * (-len(content) % SECTOR)
    sectors = len(content) // SECTOR
    assert sectors + 2 <= SECTOR // 4
    fat = [FAT, END, *range(3, 2 + sectors), END]
    fat += [FREE] * (SECTOR // 4 - len(fat))
    directory = _entry("Root Entry", 5, child=1, start=END, size=0) + _entry(stream, 2, FREE, 2, len(content))
    directory += _entry("", 0, FREE, 0, 0) * 2
    top = struct.pack(
        "<8s16sHHHHH6xIIIIIIIIII",
        *(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"\0" * 16, 0x3E, 3, 0xFFFE, 9, 6),
        *(0, 1, 1, 0, SMALLEST, END, 0, END, 0, 0),
    )
    return top + struct.pack("<108I", *[FREE] * 108) + struct.pack("<128I", *fat) + directory + content


def _entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
    text = (name + "\0").encode("utf-16-le") if name else b""
    links = (FREE, FREE, child)
    return struct.pack("<64sHBBIII16sIQQIQ", text, len(text), kind, 1, *links, b"\0" * 16, 0, 0, 0, start, size)
