"""The files of the edge, damaged while they are used, and a disk without room."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random

from streams.edge.store.database import SPOOL_FILE, VERDICTS_FILE, mark_of
from tests.chaos.disk import SmallDisk
from tests.chaos.edge.log import Span
from tests.chaos.edge.population import verdict_records
from tests.chaos.edge.service import now_ms
from tests.chaos.edge.trial import EdgeTrial, edge_of
from tests.chaos.scenario import scenario
from tests.chaos.trial import Trial, expect

PAGE = 4096
DISK_BYTES = 16 << 20
SOUND_SECONDS = 15
WAITING_MS = 10_000
"""Events that are on disk longer than this are with Kafka, while all is well."""


def _spoil(file: Path, chance: Random) -> None:
    """Write chance over every other page of a file."""
    if not file.exists():
        return
    with file.open("r+b", buffering=0) as opened:
        for page in range(os.fstat(opened.fileno()).st_size // PAGE):
            if chance.random() < 0.5:
                opened.seek(page * PAGE)
                opened.write(chance.randbytes(PAGE))


def _cut(file: Path, chance: Random) -> None:
    """Keep a part of a file."""
    if file.exists():
        os.truncate(file, chance.randrange(file.stat().st_size + 1))


def _delete(file: Path, _: Random) -> None:
    file.unlink(missing_ok=True)


def _is_sound(file: Path) -> bool:
    """Whether a file can be read as a whole."""
    if mark_of(file).exists():
        return False
    try:
        connection = sqlite3.connect(f"file:{file}?mode=ro", 0.25, uri=True)
    except sqlite3.Error:
        return False
    try:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])
    except sqlite3.Error:
        return False
    finally:
        connection.close()


async def _becomes_sound(file: Path) -> bool:
    """Wait until a file can be read as a whole; False where nobody notices, as nobody reads what is damaged."""
    for _ in range(SOUND_SECONDS * 10):
        if _is_sound(file):
            return True
        await asyncio.sleep(0.1)
    return False


HURTS: tuple[Callable[[Path, Random], None], ...] = (_spoil, _cut, _delete)
ENDS = (("-wal", ""), ("",), ("-wal",))
"""What SQLite has not written back yet stands in the second file, and hides what is wrong with the first."""


def _hurt(edge: EdgeTrial, name: str, number: int) -> bool:
    """Damage a file in one of the ways; gives whether the process that does not make it is to be started again."""
    hurt, ends = HURTS[number % len(HURTS)], ENDS[number // len(HURTS) % len(ENDS)]
    for end in ends:
        hurt(edge.folder / f"{name}{end}", edge.trial.chance)
    is_restarted = edge.trial.chance.random() < 0.3
    restarts = ", and the other process starts again" if is_restarted else ""
    edge.trial.say(f"{hurt.__name__[1:]} {' and '.join(f'{name}{end}' for end in ends)}{restarts}")
    return is_restarted


@scenario()
async def edge_verdicts_damaged(trial: Trial) -> None:
    """The edge's verdicts are overwritten, cut and deleted under load: mail is accepted until they are read again."""
    async with edge_of(trial) as edge:
        await edge.begin()
        for number in range(trial.size(len(HURTS), 4 * len(HURTS) * len(ENDS))):
            await edge.until_enforced()
            edge.excuse()
            # Those that run go on with what they have read, or with a log that is deleted; one that starts notices.
            if _hurt(edge, VERDICTS_FILE, number) or not await _becomes_sound(edge.folder / VERDICTS_FILE):
                await edge.kill_door()
                await edge.start_door()
            await edge.service.write(verdict_records(number + 2))
            await edge.until_confirmed()
        await edge.until_enforced()
        await edge.finish()


@scenario(in_short=False)
async def edge_spool_damaged(trial: Trial) -> None:
    """The edge's spool is overwritten, cut and deleted under load: what waited may be lost, and nothing else."""
    async with edge_of(trial) as edge:
        await edge.begin()
        for number in range(trial.size(len(HURTS), 4 * len(HURTS) * len(ENDS))):
            await edge.until_enforced()
            begun = now_ms()
            if _hurt(edge, SPOOL_FILE, number):
                await edge.kill_sync()
                await edge.start_sync()
            is_sound = await _becomes_sound(edge.folder / SPOOL_FILE)
            edge.lossy.append(Span(begun - WAITING_MS, now_ms()))
            if is_sound:
                await asyncio.sleep(2 * WAITING_MS / 1000)
        begun = now_ms()
        for file in edge.files(SPOOL_FILE):
            file.unlink(missing_ok=True)
        expect(await _becomes_sound(edge.folder / SPOOL_FILE), "a spool that was deleted was not made anew")
        edge.lossy.append(Span(begun - WAITING_MS, now_ms()))
        await edge.until_enforced()
        await edge.finish()


@scenario(in_short=False)
async def edge_disk_full(trial: Trial) -> None:
    """The disk of the edge is full: mail goes on, lost events are counted exactly; with room, all is as before."""
    with SmallDisk(trial.folder / "disk", DISK_BYTES) as disk:
        async with edge_of(trial, disk.folder / "edge") as edge:
            await edge.begin()
            await edge.until_enforced()
            for _ in range(trial.size(1, 4)):
                disk.fill()
                await asyncio.sleep(trial.size(5, 20))
                await edge.until_enforced()
                disk.free()
                await edge.until_confirmed()
            await edge.end_load()
            unstored, given_up = await edge.given_up("unstored"), await edge.given_up()
            expect(unstored > 0, "the disk never was full")
            edge.dropped = (unstored, given_up)
            await edge.finish()
