"""Puts a backup into an empty cluster, or under a new prefix, so that workers go on where the backup ends.

Offsets are others there: inputs begin at 0, whatever retention had taken. The markers are therefore written anew: the
offset that the last record in the state has got, or none where no record of the state is held any more.

The changelog says that it is unfinished, in place of its format, until its last transaction. So a worker that starts
too early refuses it. That transaction is of the partition's own writer: a worker and this fence each other.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition

from streams.engine.partition import state_format
from streams.engine.partition.transactions import transactional_id
from streams.kafka.batch_producer import Batches, producer_of
from streams.operations.backup.create import MARKERS, check_files
from streams.operations.backup.files import read_records
from streams.operations.backup.manifest import BackupError, read_manifest
from streams.operations.group import (
    CHANGELOG,
    INPUTS,
    commit_offsets,
    create_and_find,
    find_existing,
    named_topics,
    require_empty,
    require_stopped,
)
from streams.operations.progress import SILENT, Progress
from streams.settings.worker import Settings
from streams.state.row_format import STATE_FORMAT

UNFINISHED = b"unfinished"
"""In place of the state format, while the changelog does not hold all of the state."""


@dataclass(slots=True)
class Restored:
    """How many records each topic got, and the markers of each partition, by input."""

    records: dict[str, int] = field(default_factory=dict)
    markers: list[dict[str, int | None]] = field(default_factory=list)


async def restore_backup(settings: Settings, folder: Path, progress: Progress = SILENT) -> Restored:
    """Create the topics with the backup's partition count and fill them, once all of it and the cluster are checked.

    Raises:
        BackupError: the backup is damaged, of another version, or of another state format.
        TopicContentError: a topic holds something.
        WorkersRunningError: workers run.
        TopicError: a topic could not be created.
    """
    manifest = read_manifest(folder)
    if manifest["state_format"] != STATE_FORMAT:
        said = f"state format {manifest['state_format']}: this version reads format {STATE_FORMAT} only"
        raise BackupError(f"{folder}: {said}")
    files = {name: [folder / file["file"] for file in rows] for name, rows in manifest["topics"].items()}
    settings = replace(settings, partitions=len(files[CHANGELOG]))
    for name, topic in named_topics(settings).items():
        if name in files and len(files[name]) != topic.num_partitions:
            said = f"topic {name}: has {len(files[name])} partitions: this version needs {topic.num_partitions}"
            raise BackupError(f"{folder}: {said}")
    for name in files:
        if name not in named_topics(settings):
            raise BackupError(f"{folder}: topic {name}: this version has no such topic")
    check_files(folder, manifest, progress)
    await require_stopped(settings)
    await _require_empty_or_missing(settings)
    topics = await create_and_find(settings)
    await require_empty(settings, topics)  # what came while they were made
    restored = Restored(markers=[{} for _ in files[CHANGELOG]])
    progress.begin("restoring records", sum(file["records"] for rows in manifest["topics"].values() for file in rows))
    async with AsyncExitStack() as stack:
        writers = []
        for partition in range(settings.partitions):
            own = transactional_id(settings.app_id, settings.topic(INPUTS[0]), partition)
            writers.append(Batches(await stack.enter_async_context(producer_of(settings, own))))
            for key, value in state_format.new_rows(UNFINISHED).items():
                writers[-1].add(settings.changelog, key, value, partition)
            await writers[-1].commit()
        batches = Batches(await stack.enter_async_context(producer_of(settings, None)), is_transactional=False)
        for name in (*INPUTS, *(name for name in files if name not in INPUTS and name != CHANGELOG)):
            restored.records[name] = 0
            for number, path in enumerate(files[name]):
                marker = manifest["markers"][number][name] if name in INPUTS else None
                count, last = await _fill(batches, TopicPartition(topics[name].topic, number), path, marker, progress)
                restored.records[name] += count
                if name in INPUTS:
                    restored.markers[number][name] = last
        restored.records[CHANGELOG] = 0
        for number, path in enumerate(files[CHANGELOG]):
            rows = await _fill_changelog(settings, writers[number], number, path, restored.markers[number], progress)
            restored.records[CHANGELOG] += rows
    await _commit_offsets(settings, restored)
    return restored


async def _require_empty_or_missing(settings: Settings) -> None:
    """Refuse topics that hold anything or have other partitions than they would be given; those missing are no matter.

    Raises:
        BackupError: one has other partitions.
        TopicContentError: one holds something.
    """
    existing = await find_existing(settings)
    for name, topic in named_topics(settings).items():
        if name in existing and len(existing[name].partitions) != topic.num_partitions:
            said = f"has {len(existing[name].partitions)} partitions, the backup {topic.num_partitions}"
            raise BackupError(f"{topic.name}: {said}")
    await require_empty(settings, existing)


async def _fill(
    batches: Batches, where: TopicPartition, path: Path, marker: int | None, progress: Progress
) -> tuple[int, int | None]:
    """Write a file's records; returns their number and the new offset of the last one at or before offset `marker`."""
    count, last, is_behind = 0, None, marker is not None
    for record in read_records(path):
        if is_behind and marker is not None and record.offset > marker:
            last, is_behind = (await batches.commit()).get(where, last), False
        batches.add(where.topic, record.key, record.value, where.partition, record.headers, record.timestamp)
        count += 1
        progress.advance()
        if batches.is_full:
            written = (await batches.commit())[where]
            last = written if is_behind else last
    written_last = (await batches.commit()).get(where, last)
    return count, written_last if is_behind else last


async def _fill_changelog(
    settings: Settings,
    writer: Batches,
    partition: int,
    path: Path,
    markers: dict[str, int | None],
    progress: Progress,
) -> int:
    count = 0
    for record in read_records(path):
        progress.advance()
        key = record.key or b""
        if not key.startswith(b"\0"):  # the partition's own rows are written anew
            writer.add(settings.changelog, key, record.value, partition, record.headers, record.timestamp)
            count += 1
            await writer.commit_if_full()
    for name, row in zip(INPUTS, MARKERS, strict=True):
        if (marker := markers[name]) is not None:
            writer.add(settings.changelog, row, b"%d" % marker, partition)
    writer.add(settings.changelog, state_format.STATE_FORMAT_KEY, b"%d" % STATE_FORMAT, partition)
    await writer.commit()
    return count


async def _commit_offsets(settings: Settings, restored: Restored) -> None:
    offsets: dict[TopicPartition, Any] = {
        TopicPartition(settings.topic(name), number): marker + 1
        for number, markers in enumerate(restored.markers)
        for name, marker in markers.items()
        if marker is not None
    }
    if offsets:
        await commit_offsets(settings, offsets)
