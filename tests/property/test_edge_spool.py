"""The spool against a list: whatever comes and goes, it stays within its bound, and drops in order."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from streams.edge.store.spool import SPARE_SHARE, SpoolWriter
from streams.edge.store.spool_layout import disk_bytes
from streams.edge.store.spool_reader import SpoolReader
from tests.support.edge_files import event_of, spooled_ids

BOUND = 40 << 12
STEPS = st.one_of(
    st.tuples(st.just("append"), st.booleans(), st.sampled_from([10, 900, 2100, 5000, 50_000])),
    st.tuples(st.just("deliver"), st.just(False), st.integers(1, 20)),
    st.tuples(st.just("restart"), st.just(False), st.just(0)),
)


@given(st.lists(STEPS, min_size=1, max_size=120))
def test_it_holds_what_a_list_holds(steps: list[tuple[str, bool, int]]) -> None:
    kept: list[tuple[str, bool, int]] = []
    lost = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spool, reader = SpoolWriter(folder, BOUND), SpoolReader(folder)
        for number, (step, flag, size) in enumerate(steps):
            match step:
                case "append":
                    event = event_of(number, is_eventful=flag, body=b"x" * size)
                    took = disk_bytes(len(event.tenant_id) + len(event.event_id) + size)
                    lacking = sum(item[2] for item in kept) + took - BOUND
                    freed = 0
                    for kind in (False, True):
                        if freed >= lacking or lacking <= 0 or (kind and not flag):
                            break
                        for item in list(kept):
                            if freed >= lacking + BOUND // SPARE_SHARE:
                                break
                            if kind or not item[1]:
                                kept.remove(item)
                                freed += item[2]
                                lost += 1
                    is_kept = freed >= lacking
                    if is_kept:
                        kept.append((event.event_id, flag, took))
                    else:
                        lost += 1
                    assert spool.append(event, b"client") == is_kept
                case "deliver":
                    events = reader.read(0, size, BOUND)
                    reader.remove([event.seq for event in events])
                    kept = kept[len(events) :]
                case _:
                    spool.close()
            if kept or spool.waiting() != (0, 0):
                assert spooled_ids(folder) == [item[0] for item in kept]
            assert spool.waiting() == (len(kept), sum(item[2] for item in kept))
        told = spool.dropped
        assert told.get("uneventful", 0) + told.get("eventful", 0) == lost
        spool.close()
        reader.close()
        # Pages between two uses, and the counts, are all that comes on top.
        assert (folder / "spool.db").stat().st_size <= BOUND * 1.2 + (30 << 12)
