"""What a backup holds goes on elsewhere as if nothing had happened, offsets that differ and all."""

from __future__ import annotations

import asyncio
import json
import shutil
import stat
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete

from streams.kafka.provisioning import create_topics
from streams.kafka.reader import extents_of
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.backup import restore as restoring
from streams.operations.backup.create import check_backup, create_backup
from streams.operations.backup.files import FileError
from streams.operations.backup.manifest import MANIFEST, BackupError, digest_of
from streams.operations.backup.restore import restore_backup
from streams.operations.feeds import Collected, collect, produce_commands, produce_feed, run_workers, start_worker
from streams.operations.group import CHANGELOG, SIGNS, TopicContentError, WorkersRunningError, find_existing
from streams.settings.worker import Settings
from streams.state.row_format import STATE_FORMAT
from tests.support.feeds import UNTIL, make_commands, make_feed
from tests.support.worker_results import SIGKILLED, check, expected


def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    name = uuid.uuid4().hex[:8]
    return replace(settings, app_id=f"tes-{name}", topic_prefix=f"{name}.", state_dir=str(tmp_path / name))


async def half_done(settings: Settings, lines: list[bytes], commands: list[bytes], crash_at: str) -> None:
    """A worker killed amid its work, with transactions left open."""
    await create_topics(settings)
    await produce_feed(settings, lines)
    await produce_commands(settings, commands)
    worker = await start_worker(replace(settings, crash_at=crash_at), UNTIL)
    assert await worker.wait() == SIGKILLED


async def delete_what_is_processed(settings: Settings, keep: int) -> dict[str, int]:
    """Retention takes input that the state contains, but for some records; gives where each partition begins then."""
    topic = settings.topic(TOPICS["inbound_connection"])
    admin = cluster_of(settings).admin()
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(settings.app_id)
        begins = {where: found.offset - keep for where, found in offsets.items() if where.topic == topic}
        await admin.delete_records({where: RecordsToDelete(max(0, begin)) for where, begin in begins.items()})
    finally:
        await admin.close()
    return {f"{where.partition}": begin for where, begin in begins.items()}


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("seed", "crash_at", "keep"), [(31, "committed:3", 3), (32, "sent:7", 0)])
def test_workers_go_on_from_a_backup_as_if_nothing_had_happened(
    settings: Settings, tmp_path: Path, seed: int, crash_at: str, keep: int
) -> None:
    lines, commands = make_feed(seed, 1500), make_commands(seed)
    other, folder = elsewhere(settings, tmp_path), tmp_path / "backup"

    async def scenario() -> tuple[dict[str, int], Collected]:
        await half_done(settings, lines, commands, crash_at)
        begins = await delete_what_is_processed(settings, keep)
        manifest = await create_backup(settings, folder, is_live=False)
        assert check_backup(folder) == manifest
        assert SIGNS not in manifest["topics"]
        await restore_backup(other, folder)
        await run_workers(other, UNTIL, 2)
        return begins, await collect(other)

    begins, found = asyncio.run(scenario())
    assert 0 < sum(begins.values()) + 3 * keep < len(lines)
    check(found, lines, commands)


@pytest.mark.timeout(200)
def test_a_backup_beside_workers_loses_nothing_and_repeats_only_what_has_the_same_id(
    settings: Settings, tmp_path: Path
) -> None:
    lines, commands = make_feed(33, 3000), make_commands(33)
    other, folder = elsewhere(settings, tmp_path), tmp_path / "backup"

    async def scenario() -> tuple[Collected, bool]:
        await create_topics(settings)
        await produce_feed(settings, lines)
        await produce_commands(settings, commands)
        worker = await start_worker(settings, None)
        try:
            changelog = [TopicPartition(settings.changelog, number) for number in range(settings.partitions)]
            while not sum(end for _, end in (await extents_of(cluster_of(settings), changelog)).values()) > 100:
                assert worker.returncode is None
            with pytest.raises(WorkersRunningError, match="are still members: stop them first"):
                await create_backup(replace(settings, session_timeout_seconds=6.0), tmp_path / "refused", is_live=False)
            manifest = await create_backup(settings, folder, is_live=True)
        finally:
            worker.kill()
            await worker.wait()
        await restore_backup(other, folder)
        await run_workers(other, UNTIL, 1)
        return await collect(other), bool(manifest["is_live"])

    found, is_live = asyncio.run(scenario())
    assert is_live
    assert found.verdicts
    by_id: dict[str, Any] = {}
    for row in (*found.verdicts, *found.notifications):
        same = by_id.setdefault(row.get("verdict_id") or row["notification_id"], row)
        assert row == same
    revisions = Counter(
        (row["tenant_id"], row["server"]) for row in {r["verdict_id"]: r for r in found.verdicts}.values()
    )
    for row in found.verdicts:
        assert row["revision"] <= revisions[row["tenant_id"], row["server"]]


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}


async def fill_one(settings: Settings) -> None:
    """Only the changelog exists, with a record."""
    admin = cluster_of(settings).admin()
    await admin.start()
    await admin.create_topics([NewTopic(settings.changelog, settings.partitions, 1)])
    await admin.close()
    producer = cluster_of(settings).producer(acks="all")
    await producer.start()
    await producer.send_and_wait(settings.changelog, b"x", key=b"x")
    await producer.stop()


@pytest.mark.timeout(150)
def test_what_cannot_be_restored_is_refused_before_anything_is_written(
    settings: Settings,
    tmp_path: Path,
    tes: Any,
) -> None:
    folder = tmp_path / "backup"
    asyncio.run(create_topics(settings))
    asyncio.run(produce_feed(settings, make_feed(34, 60)))
    assert tes("backup", "create", str(folder))[0] == 0
    assert tes("backup", "check", str(folder))[0] == 0
    code, _, err = tes("backup", "create", str(folder))
    assert (code, "is not empty" in err) == (1, True)
    code, _, err = tes("backup", "restore", str(folder))
    assert (code, "must be empty" in err) == (1, True)
    other = elsewhere(settings, tmp_path)
    manifest = json.loads((folder / MANIFEST).read_text())
    for change, said in (
        ({"state_format": 99}, f"state format 99: this version reads format {STATE_FORMAT} only"),
        ({"version": 2}, "version 2: this version reads 1 only"),
        ({"created_at": "2026-01-01T00:00:00.000Z"}, "checksum mismatch"),
        ({"markers": []}, "markers: .*must be a list of"),
    ):
        spoiled = manifest | change
        if "created_at" not in change:
            spoiled["sha256"] = digest_of(spoiled)
        (folder / MANIFEST).write_text(json.dumps(spoiled))
        with pytest.raises(BackupError, match=said):
            asyncio.run(restore_backup(other, folder))
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert modes(folder) == {0o700, 0o600}
    shutil.copy(folder / manifest["topics"]["transport.connections.v1"][0]["file"], tmp_path / "kept")
    file = folder / manifest["topics"]["transport.connections.v1"][0]["file"]
    file.write_bytes(file.read_bytes()[:-1])
    code, _, err = tes("backup", "check", str(folder))
    assert (code, f"{file}: checksum mismatch" in err) == (1, True)
    file.unlink()
    code, _, err = tes("backup", "restore", str(folder))
    assert (code, f"{file}: No such file" in err) == (1, True)
    file.symlink_to(tmp_path / "kept")
    with pytest.raises(BackupError, match="must be a regular file"):
        asyncio.run(restore_backup(other, folder))
    file.unlink()
    shutil.copy(tmp_path / "kept", file)
    assert asyncio.run(find_existing(other)) == {}
    crowded = elsewhere(settings, tmp_path)
    asyncio.run(fill_one(crowded))
    with pytest.raises(TopicContentError, match="must be empty"):
        asyncio.run(restore_backup(crowded, folder))
    assert set(asyncio.run(find_existing(crowded))) == {CHANGELOG}
    asyncio.run(restore_backup(other, folder))
    with pytest.raises(TopicContentError, match="must be empty"):
        asyncio.run(restore_backup(other, folder))


@pytest.mark.timeout(150)
def test_a_worker_refuses_a_changelog_whose_restore_was_cut_off(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The changelog's last file fails behind the check, as a full disk or a killed process would end it."""
    lines, commands = make_feed(35, 300), make_commands(35)
    other, folder = elsewhere(settings, tmp_path), tmp_path / "backup"
    fill = restoring._fill_changelog

    async def failing(given: Settings, writer: Any, partition: int, *rest: Any) -> int:
        if partition == settings.partitions - 1:
            raise FileError("damaged")
        return await fill(given, writer, partition, *rest)

    monkeypatch.setattr(restoring, "_fill_changelog", failing)

    async def scenario() -> tuple[int, int]:
        await half_done(settings, lines, commands, "committed:3")
        await create_backup(settings, folder, is_live=False)
        with pytest.raises(ValueError, match="damaged"):
            await restore_backup(other, folder)
        with (tmp_path / "log").open("wb") as logs:
            worker = await start_worker(other, UNTIL, logs)
            code = await worker.wait()
        return code, len((await collect(other)).verdicts) - len((await collect(settings)).verdicts)

    assert asyncio.run(scenario()) == (70, 0)
    assert "state format unfinished" in (tmp_path / "log").read_text()
    assert expected(lines, commands)[0]
