"""What sync shows of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from streams.edge.store.spool_reader import Waiting


class SyncStatus(NamedTuple):
    """The state of sync; moments in UTC milliseconds, counts since its start.

    `confirmed_at` is what the door reads; None where nothing was confirmed since the start. `complete_at` is when all
    verdicts were last known to be on disk. `signs` has the last sign of life by input partition, of which there are
    `inputs`. `failures` has the reason of each part that does not work now.
    """

    confirmed_at: int | None
    complete_at: int | None
    is_loading: bool
    signs: Mapping[int, int]
    inputs: int | None
    clock_skew: int
    records: int
    unreadable: Mapping[str, int]
    waiting: Waiting
    delivered: int
    delivered_at: int | None
    rejected: int
    failures: Mapping[str, str]
