"""A control batch that compaction emptied is no marker, and one that is whole is what it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.control_record import ABORT_MARKER, COMMIT_MARKER

import streams.kafka.cluster  # noqa: F401 (puts the correction in place)


@pytest.mark.parametrize(
    ("records", "expected"),
    [([], False), ([COMMIT_MARKER], False), ([ABORT_MARKER], True)],
    ids=["emptied", "commit", "abort"],
)
def test_a_control_batch_without_a_record_is_no_abort_marker(records: list[Any], expected: bool) -> None:
    reader = PartitionRecords.__new__(PartitionRecords)
    batch = iter([SimpleNamespace(key=key_of(marker)) for marker in records])
    assert reader._contains_abort_marker(batch) is expected


def key_of(marker: Any) -> bytes:
    """As a broker writes it: version, kind."""
    key: bytes = marker.version.to_bytes(2, "big") + marker.type_.to_bytes(2, "big")
    return key
