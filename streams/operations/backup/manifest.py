"""A backup's manifest: what it must say before anything of it is believed.

A manifest may come from anywhere, so each field is checked: name, type and range. A file's name follows from its topic
and partition, so that none leads out of the folder and none is used twice.
"""

from __future__ import annotations

import hashlib
import json
import re
import reprlib
from collections import Counter
from pathlib import Path
from typing import Any, Final

from streams.operations.group import CHANGELOG, INPUTS
from streams.state.private_files import open_regular

VERSION: Final = 1
MANIFEST: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 64 << 20
"""Far above what thousands of partitions need."""
_MAX_OFFSET = 2**63 - 1
_MAX_TEXT = 1_000
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIELDS = (
    "version", "created_at", "app_id", "topic_prefix", "is_live", "state_format", "topics", "markers", "sha256",
)  # fmt: skip
_FILE_FIELDS = ("file", "records", "begin", "end", "sha256")


class BackupError(RuntimeError):
    """A backup that cannot be made or used; the message names the file or topic and what is wrong."""


class _FieldError(ValueError):
    """A field of a manifest: the message is `field: value: rule`."""

    def __init__(self, field: str, value: Any, rule: str) -> None:
        super().__init__(f"{field}: {_shown(value)}: {rule}")


def file_name(topic: str, partition: int) -> str:
    """The file of a partition; `topic` is the name without prefix and application."""
    return f"{topic}-{partition}.records.gz"


def digest_of(manifest: dict[str, Any]) -> str:
    """SHA-256 of what a manifest says."""
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder, each field checked, and all of them against the checksum.

    Raises:
        BackupError: it is missing, malformed or damaged, or this version does not know the backup's.
    """
    path = folder / MANIFEST
    try:
        with open_regular(path) as file:
            content = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        said = "does not exist: not a completed backup" if isinstance(error, FileNotFoundError) else error.strerror
        raise BackupError(f"{path}: {said}") from None
    if len(content) > MAX_MANIFEST_BYTES:
        raise BackupError(f"{path}: must have at most {MAX_MANIFEST_BYTES} bytes")
    try:
        manifest = _parse(content)
        _check(manifest)
    except (ValueError, RecursionError) as error:
        said = "is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BackupError(f"{path}: {said}") from None
    if manifest["sha256"] != digest_of(manifest):
        raise BackupError(f"{path}: checksum mismatch")
    return manifest


def _parse(content: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(content, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except _FieldError:
        raise
    except ValueError as error:
        raise ValueError(f"is not JSON: {error!s:.200}") from None
    if not isinstance(manifest, dict):
        raise _FieldError("manifest", manifest, "must be an object")
    return manifest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _FieldError(_name(twice), found[twice], "must occur exactly once")
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a valid value")


def _check(manifest: dict[str, Any]) -> None:
    """Refuse what no backup of this version says.

    Raises:
        ValueError: names field, value and rule.
    """
    if "version" in manifest and _integer(manifest, "version", 1) != VERSION:
        raise ValueError(f"version {_shown(manifest['version'])}: this version reads {VERSION} only")
    _require_fields(manifest, _FIELDS, "")
    for name in ("created_at", "app_id", "topic_prefix"):
        value = manifest[name]
        if not isinstance(value, str) or len(value) > _MAX_TEXT:
            raise _FieldError(name, value, f"must be text of at most {_MAX_TEXT} characters")
    if not isinstance(manifest["is_live"], bool):
        raise _FieldError("is_live", manifest["is_live"], "must be true or false")
    _integer(manifest, "state_format", 1)
    _checksum(manifest, "")
    topics = manifest["topics"]
    if not isinstance(topics, dict):
        raise _FieldError("topics", topics, "must be an object")
    for name in (CHANGELOG, *INPUTS):
        if name not in topics:
            raise _FieldError("topics", sorted(topics), f"must have {name}")
    for name, files in topics.items():
        _check_topic(name, files)
    partitions = len(topics[CHANGELOG])
    for name in INPUTS:
        if len(topics[name]) != partitions:
            rule = f"must have as many files as {CHANGELOG}, {partitions}"
            raise _FieldError(f"topics.{name}", len(topics[name]), rule)
    _check_markers(manifest["markers"], topics)


def _check_topic(name: str, files: Any) -> None:
    where = f"topics.{_name(name)}"
    if not _TOPIC.fullmatch(name):
        raise _FieldError("topics", name, "must be a topic's name: letters, digits, '.', '_' and '-'")
    if not isinstance(files, list) or not files:
        raise _FieldError(where, files, "must be a list with a file for each partition")
    for number, file in enumerate(files):
        field = f"{where}[{number}]"
        if not isinstance(file, dict):
            raise _FieldError(field, file, "must be an object")
        _require_fields(file, _FILE_FIELDS, f"{field}.")
        if file["file"] != (wanted := file_name(name, number)):
            raise _FieldError(f"{field}.file", file["file"], f"must be {wanted!r}, in the folder itself")
        _checksum(file, f"{field}.")
        begin = _integer(file, "begin", 0, f"{field}.")
        end = _integer(file, "end", begin, f"{field}.")
        _integer(file, "records", 0, f"{field}.", end - begin)


def _check_markers(markers: Any, topics: dict[str, Any]) -> None:
    partitions = len(topics[CHANGELOG])
    if not isinstance(markers, list) or len(markers) != partitions:
        raise _FieldError("markers", markers, f"must be a list of {partitions}, one for each partition of {CHANGELOG}")
    for number, row in enumerate(markers):
        field = f"markers[{number}]"
        if not isinstance(row, dict):
            raise _FieldError(field, row, "must be an object")
        _require_fields(row, INPUTS, f"{field}.")
        for name in INPUTS:
            if row[name] is not None:
                # One at or behind the end would count input as processed that nobody has read.
                _integer(row, name, 0, f"{field}.", topics[name][number]["end"] - 1)


def _require_fields(found: dict[str, Any], names: tuple[str, ...], where: str) -> None:
    for name in names:
        if name not in found:
            raise ValueError(f"{where}{name}: is missing")
    for name, value in found.items():
        if name not in names:
            raise _FieldError(f"{where}{_name(name)}", value, "is unknown")


def _integer(found: dict[str, Any], name: str, least: int, where: str = "", most: int = _MAX_OFFSET) -> int:
    value = found[name]
    if type(value) is not int or not least <= value <= most:
        raise _FieldError(f"{where}{name}", value, f"must be an integer from {least} to {most}")
    return value


def _checksum(found: dict[str, Any], where: str) -> None:
    value = found["sha256"]
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise _FieldError(f"{where}sha256", value, "must be 64 digits of lower-case hexadecimal")


def _name(name: str) -> str:
    return name if _TOPIC.fullmatch(name) else f"{name!r:.80}"


def _shown(value: Any) -> str:
    """A value as it stands in an error, however long or deep it is."""
    if isinstance(value, int) and not -_MAX_OFFSET <= value <= _MAX_OFFSET:
        return f"an integer of {value.bit_length()} bits"
    return f"{reprlib.repr(value) if isinstance(value, dict | list) else repr(value):.80}"
