"""Records in files come back as they were, and a damaged file is named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.operations.backup.files import FileError, RecordWriter, StoredRecord, checksum_of, read_records

RECORDS: list[Any] = [
    StoredRecord(7, 1_700_000_000_000, b"tenant-1", b"\x00value", (("name", b"text"), ("name", b""))),
    StoredRecord(9, 0, None, None, ()),
    StoredRecord(2**40, -1, b"", b"", (("größe", b"\xff"),)),
    StoredRecord(2**40 + 1, 5, b"k", None, (("null", None),)),  # type: ignore[arg-type]
    StoredRecord(2**40 + 2, 5, b"k", b"x" * 3_000_000, ()),
]


def write(path: Path) -> None:
    with RecordWriter(path) as writer:
        for record in RECORDS:
            writer.add(SimpleNamespace(**record._asdict()))
        assert writer.records == len(RECORDS)


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    write(tmp_path / "one")
    assert list(read_records(tmp_path / "one")) == RECORDS
    before = checksum_of(tmp_path / "one")
    (tmp_path / "one").write_bytes((tmp_path / "one").read_bytes() + b"\0")
    assert checksum_of(tmp_path / "one") != before


@pytest.mark.parametrize("length", [1, 60, -1, -9])
def test_a_file_that_was_cut_is_named(tmp_path: Path, length: int) -> None:
    path = tmp_path / "records"
    write(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(FileError, match=r"records: damaged"):
        list(read_records(path))
