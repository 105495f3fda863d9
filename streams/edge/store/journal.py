"""A file of events that are on disk, and not in the spool's database yet.

One call of the system appends to it, and what is appended survives the process as a commit of SQLite does: both are in
the kernel's hands then, and neither waits for the disk.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from streams.edge.ports import SpooledEvent

_FRAME: Final = struct.Struct("<II")
"""Length and CRC of what follows."""
_HEAD: Final = struct.Struct("<QBHH")
"""An event's number, whether it is eventful, bytes of its tenant and of its id; these and the body follow."""


class NumberedEvent(NamedTuple):
    """An event with the number that it has in the spool."""

    seq: int
    event: SpooledEvent


def frame_of(item: NumberedEvent) -> bytes:
    """An event as the file has it.

    Raises:
        ValueError: a text of it is none that can be stored.
        struct.error: one is too long.
    """
    tenant, event_id = item.event.tenant_id.encode(), item.event.event_id.encode()
    head = _HEAD.pack(item.seq, item.event.is_eventful, len(tenant), len(event_id))
    content = b"".join((head, tenant, event_id, item.event.body))
    return _FRAME.pack(len(content), zlib.crc32(content)) + content


def parse_frames(data: bytes) -> tuple[Sequence[NumberedEvent], int]:
    """The events of a file, and how many bytes of it they are.

    What stands behind them was cut off while it was written, so that nobody was answered for it.
    """
    found: list[NumberedEvent] = []
    begin = 0
    while begin + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, begin)
        content = data[begin + _FRAME.size : begin + _FRAME.size + length]
        if len(content) < max(length, _HEAD.size) or zlib.crc32(content) != checksum:
            break
        seq, is_eventful, tenant_bytes, id_bytes = _HEAD.unpack_from(content)
        tenant_end = _HEAD.size + tenant_bytes
        id_end = tenant_end + id_bytes
        tenant, event_id = content[_HEAD.size : tenant_end].decode(), content[tenant_end:id_end].decode()
        found.append(NumberedEvent(seq, SpooledEvent(tenant, event_id, bool(is_eventful), content[id_end:])))
        begin += _FRAME.size + length
    return found, begin


class Journal:
    """The file; each method but `close` may raise OSError."""

    def __init__(self, path: Path) -> None:
        """Use the file at `path`, or make it."""
        self._path = path
        self._file: int | None = None
        self._size = 0

    def open(self) -> Sequence[NumberedEvent]:
        """Open the file; returns the events that are in it already. What is cut off at its end is removed."""
        self.close()
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            parts = []
            while part := os.read(file, 1 << 20):
                parts.append(part)
            found, self._size = parse_frames(b"".join(parts))
            os.ftruncate(file, self._size)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        return found

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._file is not None

    def append(self, frames: bytes) -> None:
        """Append whole frames to the open file; where that is not possible, none of them."""
        file = self._file
        assert file is not None
        written = os.write(file, frames)
        if written != len(frames):  # the disk is full
            os.ftruncate(file, self._size)
            raise OSError(f"{self._path}: {written} of {len(frames)} bytes could be written")
        self._size += written

    def clear(self) -> None:
        """Forget all events: they are elsewhere. A file that somebody deleted is let go."""
        if self._file is None:
            return
        os.ftruncate(self._file, 0)
        self._size = 0
        if os.fstat(self._file).st_nlink == 0:
            self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
        self._file = None
