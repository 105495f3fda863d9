"""Records of one topic partition in a file: compressed, one after the other, as they were in Kafka.

Each is a head (offset, timestamp, lengths of key and value with -1 for none, number of headers), key, value, and for
each header the lengths of its name and value, name, value. Numbers are big-endian.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from streams.kafka.record import Headers
from streams.state.private_files import create_private, open_regular

_HEAD = struct.Struct(">qqiii")
_HEADER = struct.Struct(">ii")
_CHUNK_BYTES = 1 << 20
_MAX_PART_BYTES = 256 << 20
"""Far above what any topic of the product takes; a damaged length is not asked of the memory."""
_LEVEL = 3
"""Of compression: most of what more would save, at a third of its time."""


class FileError(ValueError):
    """A file that is damaged or of another kind; the message names it."""


class StoredRecord(NamedTuple):
    """A record as a file holds it; `timestamp` in UTC milliseconds."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class RecordWriter:
    """Writes a new file that only its owner may read."""

    def __init__(self, path: Path) -> None:
        self.records = 0
        self._raw = create_private(path)
        self._file = gzip.GzipFile("", "wb", compresslevel=_LEVEL, fileobj=self._raw, mtime=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._raw:
            self._file.close()

    def add(self, record: Any) -> None:
        """Add a record of the Kafka client."""
        key, value, headers = record.key, record.value, record.headers
        parts = [_HEAD.pack(record.offset, record.timestamp, _length(key), _length(value), len(headers))]
        parts += [key or b"", value or b""]
        for name, text in headers:
            raw = name.encode()
            parts += [_HEADER.pack(len(raw), _length(text)), raw, text or b""]
        self._file.write(b"".join(parts))
        self.records += 1


def read_records(path: Path) -> Iterator[StoredRecord]:
    """The records of a file, one at a time.

    Raises:
        FileError: it ends within a record, or is no such file.
    """
    try:
        with open_regular(path) as raw, gzip.GzipFile(fileobj=raw) as file:
            while head := file.read(_HEAD.size):
                offset, timestamp, key, value, headers = _HEAD.unpack(head)
                yield StoredRecord(
                    offset,
                    timestamp,
                    _part(file, key),
                    _part(file, value),
                    tuple(_header(file) for _ in range(headers)),
                )
    except (OSError, EOFError, zlib.error, struct.error, UnicodeDecodeError) as error:
        raise FileError(f"{path}: damaged: {error}") from error


def checksum_of(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _length(part: bytes | None) -> int:
    return -1 if part is None else len(part)


def _part(file: Any, length: int) -> bytes | None:
    if length < 0:
        return None
    if length > _MAX_PART_BYTES:
        raise EOFError(f"a part of {length} bytes, larger than any record")
    part: bytes = file.read(length)
    if len(part) != length:
        raise EOFError(f"{length - len(part)} bytes are missing")
    return part


def _header(file: Any) -> tuple[str, bytes]:
    name, text = _HEADER.unpack(file.read(_HEADER.size))
    return (_part(file, name) or b"").decode(), _part(file, text)  # type: ignore[return-value]  # Kafka knows null
