"""Connectors in a YAML file: a list of entries, every error with its line, entry, field and value."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

import yaml

from streams.edge.connectors.entries import ConnectorsError, Entry, EntryReader
from streams.edge.connectors.overlaps import overlap_errors
from streams.policies.strict_yaml import load_strictly

MAX_FILE_BYTES: Final = 1 << 20
"""Some thousand connectors; who has more publishes them on the topic."""


class FileVersion(tuple[int, ...]):
    """What differs where a file has changed: which file it is, when it was written, its size."""

    __slots__ = ()

    @classmethod
    def of(cls, path: Path) -> FileVersion | None:
        """The version of a file; None where there is none."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls((found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size))


def read_connectors(path: Path) -> list[Entry]:
    """The connectors of a file.

    Raises:
        ConnectorsError: with every error found.
    """
    return parse_connectors(_text_of(path), str(path))


def parse_connectors(text: str, source: str) -> list[Entry]:
    """The connectors in YAML text; `source` names it in errors.

    Raises:
        ConnectorsError: with every error found.
    """
    try:
        content, lines = load_strictly(text, MAX_FILE_BYTES)
    except yaml.YAMLError as error:
        raise ConnectorsError([f"{source}: not YAML: {' '.join(str(error).split())[:500]}"]) from None
    if not isinstance(content, list):
        raise ConnectorsError([f"{source}: {str(content)[:80]!r:.100}: must be a list of connectors"])
    reader = EntryReader(source, lines)
    entries = [entry for index, item in enumerate(content) if (entry := reader.entry(item, index)) is not None]
    if errors := reader.errors or overlap_errors(entries):
        raise ConnectorsError(errors)
    return entries


def _text_of(path: Path) -> str:
    try:
        # A pipe without a writer would block here.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConnectorsError([f"{path}: must be a file"])
            raw = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConnectorsError([f"{path}: must be a readable file: {error.strerror}"]) from None
    if len(raw) > MAX_FILE_BYTES:
        raise ConnectorsError([f"{path}: larger than {MAX_FILE_BYTES} bytes"])
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ConnectorsError([f"{path}: must be text in UTF-8: byte {error.start}"]) from None
