"""What every state store promises, run on the one in memory and on RocksDB."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.engine.ports import StateStore, StoreError
from streams.state.stores import MemoryBudget, RocksDBStore
from streams.testing import MemoryStore


@pytest.fixture(params=["memory", "rocksdb"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], StateStore]:
    def opened() -> StateStore:
        return MemoryStore() if request.param == "memory" else RocksDBStore(tmp_path / "a" / "store")

    return opened


def test_values_come_back_and_none_deletes(open_store: Callable[[], StateStore]) -> None:
    store = open_store()
    store.write({b"a": b"1", b"b": b"", b"\x00\xff": b"\x00"})
    assert [store.get(key) for key in (b"a", b"b", b"\x00\xff", b"c")] == [b"1", b"", b"\x00", None]
    store.write({b"a": None, b"c": b"3", b"absent": None})
    assert [store.get(key) for key in (b"a", b"b", b"c")] == [None, b"", b"3"]
    store.close()


def test_a_scan_is_ordered_and_half_open(open_store: Callable[[], StateStore]) -> None:
    store = open_store()
    store.write(dict.fromkeys((b"d/2", b"d/1", b"d/3", b"e", b"c"), b"x"))
    assert [key for key, _ in store.scan(b"d/", b"d/3")] == [b"d/1", b"d/2"]
    assert list(store.scan(b"x", b"z")) == []
    store.close()


def test_wipe_empties_it(open_store: Callable[[], StateStore]) -> None:
    store = open_store()
    store.write({b"a": b"1"})
    store.wipe()
    assert store.get(b"a") is None
    store.write({b"b": b"2"})
    assert store.get(b"b") == b"2"
    store.close()


def test_rocksdb_keeps_rows_over_a_restart_and_names_the_folder_it_cannot_open(tmp_path: Path) -> None:
    store = RocksDBStore(tmp_path / "store")
    store.write({b"a": b"1"})
    with pytest.raises(StoreError, match="store"):
        RocksDBStore(tmp_path / "store")
    store.close()
    again = RocksDBStore(tmp_path / "store")
    assert again.get(b"a") == b"1"
    again.close()


def test_a_store_that_is_opened_again_has_the_options_of_a_new_one(tmp_path: Path) -> None:
    budget = MemoryBudget(64 << 20)

    def options_in_use() -> list[str]:
        store = RocksDBStore(tmp_path / "store", budget)
        store.close()
        newest = max((tmp_path / "store").glob("OPTIONS-*"))
        return [line for line in newest.read_text().splitlines() if "=" in line]

    first, again = options_in_use(), options_in_use()
    assert "  filter_policy=bloomfilter" in first
    assert again == first


def test_the_budget_holds_what_a_store_that_is_opened_again_has_read(tmp_path: Path) -> None:
    store = RocksDBStore(tmp_path / "store")
    store.write({b"%06d" % number: b"x" * 1_000 for number in range(1_000)})
    store.close()
    budget = MemoryBudget(64 << 20)
    again = RocksDBStore(tmp_path / "store", budget)
    before = budget.memory_bytes()["cache"]
    assert len(list(again.scan(b"0", b"1"))) == 1_000
    assert budget.memory_bytes()["cache"] > before + 900_000
    again.close()


def test_what_was_flushed_survives_a_crash(tmp_path: Path) -> None:
    store = RocksDBStore(tmp_path / "store")
    store.write({b"a": b"1"})
    store.flush()

    def after_a_crash() -> bytes | None:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "store", tmp_path / "copy", ignore=shutil.ignore_patterns("LOCK"))
        copy = RocksDBStore(tmp_path / "copy")
        try:
            return copy.get(b"a")
        finally:
            copy.close()

    deadline = time.monotonic() + 60
    while after_a_crash() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    store.write({b"a": b"2"})
    assert after_a_crash() == b"1"
    store.close()


def test_a_scan_over_a_damaged_file_fails_and_does_not_end_early(tmp_path: Path) -> None:
    store = RocksDBStore(tmp_path / "store")
    store.write({b"%06d" % number: b"x" * 200 for number in range(5000)})
    store.close()
    (table,) = sorted((tmp_path / "store").glob("*.sst"))
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 0xFF
    table.write_bytes(content)
    damaged = RocksDBStore(tmp_path / "store")
    with pytest.raises(StoreError, match="orrupt"):
        list(damaged.scan(b"", b"9"))
    damaged.close()


def test_indexes_and_filters_stay_out_of_the_cache(tmp_path: Path) -> None:
    # In it whole ones displace each other, and parts are looked up each; what that costs shows in
    # `scripts/bench servers`.
    store = RocksDBStore(tmp_path / "store")
    store.close()
    (options,) = (tmp_path / "store").glob("OPTIONS-*")
    stated = {line.strip() for line in options.read_text(encoding="utf-8").splitlines()}
    wanted = {"cache_index_and_filter_blocks=false", "partition_filters=false"}
    assert wanted <= stated
    assert {"memtable_whole_key_filtering=true", "level0_file_num_compaction_trigger=8"} <= stated
