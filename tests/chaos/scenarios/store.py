"""RocksDB without room, or with files that somebody damaged. It is a cache: deleting the folder is always the cure."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from streams.domain.time import DAY_MS
from streams.engine.ports import StoreError
from tests.chaos.disk import SmallDisk
from tests.chaos.evidence import store_rows, store_values
from tests.chaos.feeds import START, Feed
from tests.chaos.scenario import scenario
from tests.chaos.trial import Trial, expect
from tests.chaos.worker import EXIT_FAILED

STORE_DISK_BYTES = 48 << 20
SMALL_CACHE_BYTES = 512 << 10
"""Half of it is for write buffers: RocksDB writes to its disk every few hundred servers."""


@scenario()
async def rocksdb_disk_full(trial: Trial) -> None:
    """No room under RocksDB: the worker ends with 70 and StoreError, again and again; with room it goes on."""
    with SmallDisk(trial.folder / "store-disk", STORE_DISK_BYTES) as disk:
        trial.settings = replace(trial.settings, state_dir=str(disk.folder))
        records = await trial.load_mixed(3_000, 20_000)
        own: dict[str, Any] = {"batch_records": 10, "state_cache_bytes": SMALL_CACHE_BYTES, "instance_id": "worker-1"}
        worker = await trial.worker(**own)
        await trial.reach(trial.chance.randint(1, records // 3), worker)
        trial.say(f"{disk.fill() >> 20} MiB filled at {await trial.committed()} of {records} records")
        code = await worker.wait()
        if code != 0:
            expect(code == EXIT_FAILED and "StoreError" in worker.log, f"ended with {code}: {trial.tail()}")
            again = await trial.worker(**own)
            code = await again.wait()
            expect(code in (0, EXIT_FAILED), f"without room a worker ended with {code}: {trial.tail()}")
        trial.say(f"without room the last worker ended with {code}")
        disk.free()
        await trial.finish(**own)
        await trial.verify()


async def _damaged(trial: Trial, damage: Callable[[Trial, Path], None]) -> int:
    """Stop a worker in the middle, damage its files, and do what an operator does; gives how often it was refused."""
    records = trial.size(2_000, 12_000)
    seed, half, step_ms = trial.chance.randrange(10**6), records // 2, 40 * DAY_MS // records
    await trial.load_before(Feed("wide", seed, half, step_ms=step_ms))
    own: dict[str, Any] = {
        "batch_records": 5,
        "instance_id": "worker-1",
    }  # and a cache so large that no compaction comes across
    worker = await trial.worker(**own)
    await trial.reach(trial.chance.randint(half * 2 // 3, half), worker)
    worker.signal(signal.SIGTERM)
    await worker.wait()
    folders = [folder for folder in trial.stores() if _tables(folder)]
    expect(bool(folders), "the worker left no RocksDB with tables in it")
    for folder in folders:
        damage(trial, folder)
    # There is work left, and there are timers to come, however far the first one came.
    rest = Feed("wide", seed + 1, half, base_ms=START + half * step_ms, step_ms=step_ms)
    await trial.load(rest, until_ms=START + trial.size(60, 130) * DAY_MS)
    refused = 0
    while (code := await (worker := await trial.worker(**own)).wait()) != 0:
        expect(code == EXIT_FAILED, f"ended with exit code {code}: {trial.tail()}")
        named = [folder for folder in folders if str(folder) in worker.log]
        expect("StoreError" in worker.log and bool(named), f"no StoreError that names its folder: {trial.tail()}")
        for folder in named:
            shutil.rmtree(folder, ignore_errors=True)
        refused += 1
        expect(refused <= len(folders), f"a deleted folder is no cure: {trial.tail()}")
    trial.say(f"{len(folders)} damaged; refused {refused} times with StoreError, and cured by deleting the folder")
    await trial.verify()
    return refused


def _tables(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.sst"))


def _flip(trial: Trial, folder: Path) -> None:
    table = max(_tables(folder), key=lambda table: table.stat().st_size)
    content = bytearray(table.read_bytes())
    content[trial.chance.randrange(len(content) * 3 // 4)] ^= 0xFF
    table.write_bytes(content)


def _truncate(trial: Trial, folder: Path) -> None:
    table = trial.chance.choice(_tables(folder))
    table.write_bytes(table.read_bytes()[: trial.chance.randrange(table.stat().st_size)])


@scenario(in_short=False)
async def rocksdb_bytes_flipped(trial: Trial) -> None:
    """A byte of a table is flipped: the worker ends with 70 and StoreError, or restores; never a wrong verdict."""
    await _damaged(trial, _flip)


def _spoil_timers(trial: Trial, folder: Path) -> None:
    """Flip a byte so that of all rows only due rows are hit: they fill whole blocks near a table's beginning."""
    table = max(_tables(folder), key=lambda table: table.stat().st_size)
    sound, rows = table.read_bytes(), store_rows(folder)
    others = [key for key in rows if not key.startswith(b"d/")]
    step = 512  # less than a block
    places = list(range(step, len(sound) // 2, step))
    trial.chance.shuffle(places)
    for place in places:
        content = bytearray(sound)
        content[place] ^= 0xFF
        table.write_bytes(content)
        with suppress(StoreError):
            store_rows(folder, b"d/", b"d0")
            continue
        with suppress(StoreError):
            if store_values(folder, others) == [rows[key] for key in others]:
                trial.say(f"{folder.name}: a block of its {len(rows) - len(others)} timers alone is damaged")
                return
    table.write_bytes(sound)
    trial.say(f"{folder.name}: no block of its {len(rows) - len(others)} timers alone; it stays whole")


@scenario()
async def rocksdb_timers_damaged(trial: Trial) -> None:
    """A block of due rows is damaged: the worker ends with 70 and StoreError; no timer is passed over in silence."""
    trial.settings = replace(trial.settings, partitions=1)  # of several, each may have too few to fill a block
    refused = await _damaged(trial, _spoil_timers)
    expect(refused > 0, "the worker passed over timers, or none was damaged")


@scenario(in_short=False)
async def rocksdb_table_truncated(trial: Trial) -> None:
    """A table is cut short: the worker refuses it with 70 and StoreError."""
    await _damaged(trial, _truncate)


@scenario(in_short=False)
async def rocksdb_without_current(trial: Trial) -> None:
    """CURRENT is gone: the worker refuses the folder, or begins a new one from the changelog."""
    await _damaged(trial, lambda _, folder: (folder / "CURRENT").unlink())


@scenario(in_short=False)
async def rocksdb_manifest_damaged(trial: Trial) -> None:
    """A byte of the manifest is flipped: the worker refuses the folder, or restores what it no longer knows."""

    def damage(trial: Trial, folder: Path) -> None:
        for manifest in folder.glob("MANIFEST-*"):
            content = bytearray(manifest.read_bytes())
            content[trial.chance.randrange(len(content))] ^= 0xFF
            manifest.write_bytes(content)

    await _damaged(trial, damage)
