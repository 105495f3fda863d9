"""A backup: the product's topics but signs of life, with their offsets in files, and a manifest with their checksums.

What makes it whole is the order in which the ends are taken: the changelog first, then the outputs, then the inputs.
So every output of a unit whose state is in the backup is there, and every input that the state has not seen. The
outputs' ends include what is in transactions, and these are waited for: one that is open hides those committed behind
it. Without workers nothing happens in between, and the backup is exact; with them, outputs of units that follow may be
in it, and are written again, with the same ids, by those who go on from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from aiokafka import TopicPartition

from streams.clock import wall_clock_ms
from streams.domain.time import iso
from streams.engine.partition import state_format
from streams.engine.partition.unit import MARKER, MERGED_MARKER
from streams.kafka.reader import extents_of, read_partitions
from streams.kafka.security import cluster_of
from streams.operations.backup.files import RecordWriter, checksum_of, read_records
from streams.operations.backup.manifest import MANIFEST, VERSION, BackupError, digest_of, file_name, read_manifest
from streams.operations.group import (
    CHANGELOG,
    INPUTS,
    SIGNS,
    ProductTopic,
    fence_writers,
    find_topics,
    require_stopped,
)
from streams.operations.progress import SILENT, Progress
from streams.settings.worker import Settings
from streams.state.private_files import create_private, make_private_folder
from streams.state.row_format import STATE_FORMAT

MARKERS: Final = (MARKER, MERGED_MARKER)
"""The markers of `INPUTS`."""


async def create_backup(settings: Settings, folder: Path, is_live: bool, progress: Progress = SILENT) -> dict[str, Any]:
    """Write all topics to a new folder; returns the manifest. `is_live` allows workers to keep running.

    Raises:
        BackupError: the folder holds something.
        WorkersRunningError: workers run.
        StoreError: the state has a format that this version does not know.
        TopicError: a topic does not exist.
    """
    _make_empty_folder(folder)
    topics = await find_topics(settings)
    del topics[SIGNS]
    if not is_live:
        await require_stopped(settings)
        await fence_writers(settings, len(topics[CHANGELOG].partitions))
    extents = await _extents(settings, topics)
    manifest: dict[str, Any] = {
        "version": VERSION,
        "created_at": iso(wall_clock_ms()),
        "app_id": settings.app_id,
        "topic_prefix": settings.topic_prefix,
        "is_live": is_live,
        "state_format": STATE_FORMAT,
        "topics": {},
        "markers": [],
    }
    progress.begin("writing records", sum(end - begin for begin, end in extents.values()))
    for name, topic in topics.items():
        files = []
        for partition in topic.partitions:
            begin, end = extents[partition]
            path = folder / file_name(name, partition.partition)
            records, rows = await _write(settings, path, partition, begin, end, progress)
            if name == CHANGELOG:
                state_format.refuse_other(rows.get(state_format.STATE_FORMAT_KEY), STATE_FORMAT)
                marked = {of: rows.get(row) for of, row in zip(INPUTS, MARKERS, strict=True)}
                manifest["markers"].append({of: row and int(row) for of, row in marked.items()})
            files.append(
                {"file": path.name, "records": records, "begin": begin, "end": end, "sha256": checksum_of(path)}
            )
        manifest["topics"][name] = files
    manifest["sha256"] = digest_of(manifest)
    pending = folder / f"{MANIFEST}.new"
    with create_private(pending) as file:
        file.write(json.dumps(manifest, indent=1).encode() + b"\n")
    pending.rename(folder / MANIFEST)
    return manifest


async def _extents(settings: Settings, topics: dict[str, ProductTopic]) -> dict[TopicPartition, tuple[int, int]]:
    outputs = [name for name in topics if name != CHANGELOG and name not in INPUTS]
    extents: dict[TopicPartition, tuple[int, int]] = {}
    for names, isolation in (
        ((CHANGELOG,), "read_committed"),
        (outputs, "read_uncommitted"),
        (INPUTS, "read_committed"),
    ):
        partitions = [partition for name in names for partition in topics[name].partitions]
        extents |= await extents_of(cluster_of(settings), partitions, isolation)
    return extents


async def _write(
    settings: Settings, path: Path, partition: TopicPartition, begin: int, end: int, progress: Progress
) -> tuple[int, dict[bytes, Any]]:
    """Write a partition; returns the number of records, and for a changelog the partition's own state rows."""
    rows: dict[bytes, Any] = {}
    with RecordWriter(path) as writer:
        async for record in read_partitions(cluster_of(settings), {partition: begin}, {partition: end}):
            writer.add(record)
            progress.advance()
            if partition.topic == settings.changelog and record.key.startswith(b"\0"):
                rows[record.key] = record.value
    return writer.records, rows


def lost_records(manifest: dict[str, Any]) -> list[str]:
    """Inputs that are gone and that the state has not seen, each in words."""
    lost = []
    for number, markers in enumerate(manifest["markers"]):
        for name, marker in markers.items():
            begin = manifest["topics"][name][number]["begin"]
            if marker is not None and begin > marker + 1:
                lost.append(
                    f"{name}-{number}: records {marker + 1}..{begin - 1} were deleted before they were processed"
                )
    return lost


def check_backup(folder: Path, progress: Progress = SILENT) -> dict[str, Any]:
    """Read every file and compare it with the manifest; returns the manifest.

    Raises:
        BackupError: a file is missing or another one, or this version does not know the backup's.
        FileError: a file has its checksum, and holds no records.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest, progress)
    return manifest


def check_files(folder: Path, manifest: dict[str, Any], progress: Progress = SILENT) -> None:
    """Read every file that a manifest names, and compare it.

    Raises:
        BackupError, FileError: See `check_backup`.
    """
    every = [file for files in manifest["topics"].values() for file in files]
    progress.begin("checking files", sum(file["records"] for file in every))
    for file in every:
        _check_file(folder / file["file"], file, progress)


def _check_file(path: Path, file: dict[str, Any], progress: Progress) -> None:
    try:
        found = checksum_of(path)
    except OSError as error:
        raise BackupError(f"{path}: {error.strerror}") from None
    if found != file["sha256"]:
        raise BackupError(f"{path}: checksum mismatch")
    count, next_offset = 0, file["begin"]
    for record in read_records(path):
        if not next_offset <= record.offset < file["end"]:
            said = f"record {count} has offset {record.offset}: must be from {next_offset} to {file['end'] - 1}"
            raise BackupError(f"{path}: {said}")
        count, next_offset = count + 1, record.offset + 1
        progress.advance()
    if count != file["records"]:
        raise BackupError(f"{path}: contains {count} records: the manifest says {file['records']}")


def _make_empty_folder(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"{folder}: is not empty")
    make_private_folder(folder)
