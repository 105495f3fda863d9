"""Sync in order, as its status shows it."""

from __future__ import annotations

from streams.edge.store.spool_reader import Waiting
from streams.edge.sync.status import SyncStatus

NOW = 1_800_000_000_000
WORKING = SyncStatus(
    confirmed_at=NOW - 2_000,
    complete_at=NOW - 1_000,
    is_loading=False,
    signs={0: NOW - 3_000, 1: NOW - 2_000},
    inputs=2,
    clock_skew=500,
    records=10,
    unreadable={"verdicts": 1},
    waiting=Waiting(7, 900, NOW * 1000),
    delivered=20,
    delivered_at=NOW,
    rejected=0,
    failures={},
)
