"""The state store: RocksDB, one directory for each partition."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import rocksdict

from streams.engine.ports import StoreError
from streams.state.private_files import FILE_MODE, make_private_folder

WRITE_BUFFER_BYTES = 16 << 20
"""Of one store; the budget flushes earlier when all stores together have half of it."""
WRITE_BUFFER_FILTER_SHARE = 0.02
"""Of a write buffer, for a filter of its keys: most look-ups are for one that is not in it."""
FILES_TO_COMPACT = 8
"""How many flushed files are compacted at once.

Measured with a million servers: with RocksDB's default of 4 compaction cost 15 to 20 µs per connection, with 8 half of
that.
"""
DEFAULT_BUDGET_BYTES = 128 << 20


class MemoryBudget:
    """The memory that all RocksDB stores of a process share: block cache, and in it the write buffers.

    Indexes and filters come on top, whole, 11 MiB for a million servers: in the cache they were looked up part by
    part, which was a third of a look-up's time, or did not stay.
    """

    def __init__(self, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        self.cache = rocksdict.Cache(budget_bytes)
        self.write_buffers = rocksdict.WriteBufferManager.new_write_buffer_manager_with_cache(
            budget_bytes // 2, False, self.cache
        )

    def memory_bytes(self) -> dict[str, int]:
        """What is held now; the write buffers are charged to the cache, and so are the pinned blocks."""
        return {
            "cache": self.cache.get_usage(),
            "pinned": self.cache.get_pinned_usage(),
            "write_buffers": self.write_buffers.get_usage(),
        }


class RocksDBStore:
    """A store in one directory.

    It has no log of its own: what a crash takes from memory is a suffix of the writes, and the changelog has it.
    Nobody but the owner may read it: from its opening on the process makes all its files so, whatever the umask was,
    for RocksDB makes files at any time and in threads of its own.

    Raises:
        StoreError: the directory cannot be opened, and whatever RocksDB refuses later.
    """

    def __init__(self, path: Path, budget: MemoryBudget | None = None) -> None:
        self._path, self._budget = path, budget or MemoryBudget()
        self._writing = rocksdict.WriteOptions()
        self._writing.disable_wal = True  # type: ignore[method-assign, assignment]  # the stubs are wrong
        self._db = self._open()

    def _open(self) -> rocksdict.Rdict:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(WRITE_BUFFER_BYTES)
        options.set_write_buffer_manager(self._budget.write_buffers)
        options.set_memtable_whole_key_filtering(True)
        options.set_memtable_prefix_bloom_ratio(WRITE_BUFFER_FILTER_SHARE)
        options.set_level_zero_file_num_compaction_trigger(FILES_TO_COMPACT)
        options.set_keep_log_file_num(2)
        blocks = rocksdict.BlockBasedOptions()
        blocks.set_block_cache(self._budget.cache)
        blocks.set_bloom_filter(10, False)
        options.set_block_based_table_factory(blocks)
        try:
            os.umask(0o077)
            make_private_folder(self._path)
            for file in self._path.iterdir():  # those of an earlier version are open to more
                file.chmod(FILE_MODE)
            # Without the second naming, a store that there is would be opened with what RocksDB itself wrote down of
            # its options: no filter, and a small cache of its own.
            return rocksdict.Rdict(str(self._path), options=options, column_families={"default": options})
        except Exception as error:
            raise StoreError(f"{self._path}: {error}") from error

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, None where there is none."""
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:
            raise StoreError(f"{self._path}: get: {error}") from error
        return value

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows with start <= key < end, in order of their keys."""
        try:
            rows: Any = self._db.iter()
            rows.seek(start)
            while rows.valid():
                key = rows.key()
                if key >= end:
                    return
                yield key, rows.value()
                rows.next()
            # An iterator ends at a damaged block as it does behind the last row; only its status tells them apart.
            rows.status()
        except Exception as error:
            raise StoreError(f"{self._path}: scan: {error}") from error

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Apply all changes or none; None deletes."""
        try:
            batch = rocksdict.WriteBatch(raw_mode=True)
            for key, value in changes.items():
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
            self._db.write(batch, self._writing)
        except Exception as error:
            raise StoreError(f"{self._path}: write: {error}") from error

    def flush(self) -> None:
        """Begin to bring to disk what is in the write buffers, which a crash would take; does not wait for it."""
        try:
            self._db.flush(wait=False)
        except Exception as error:
            raise StoreError(f"{self._path}: flush: {error}") from error

    def close(self) -> None:
        """Flush and release the directory's lock."""
        try:
            self._db.close()
        except Exception as error:
            raise StoreError(f"{self._path}: close: {error}") from error

    def wipe(self) -> None:
        """Delete everything and start over."""
        self.close()
        shutil.rmtree(self._path, ignore_errors=True)
        self._db = self._open()
