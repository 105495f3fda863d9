"""What the counting kernel keeps with topmost lines is counted, also once their servers' rows are gone."""

from __future__ import annotations

import gc
import tracemalloc

from streams.worker.processor import InputProcessor
from tests.support.partition import HEADER, RULEBOOK, UNTIL, WIRES, Partition, connection, line_of

SERVERS = 600


def fed() -> Partition:
    partition = Partition(unit=1_000)
    partition.processor = InputProcessor(lambda: RULEBOOK, WIRES, HEADER, UNTIL, cached_servers=10**6)
    partition.feed(
        [
            connection(turn * SERVERS + number, received=[line_of("15.1.2507.61", f"m{number}.x")])
            for turn in range(3)
            for number in range(SERVERS)
        ]
    )
    return partition


def test_lines_of_servers_that_left_the_cache_take_no_more_than_is_counted() -> None:
    fed()  # fills what the process has only once
    gc.collect()
    tracemalloc.start()
    try:
        partition = fed()
        path, cache = partition.processor._routine_path, partition.processor._repository.cache
        headers = path._headers
        cache._most_bytes = cache._most_decoded = 0
        partition.empty_unit()
        assert not cache.rows
        assert len(headers.lines) == SERVERS
        assert all(line.ticket is not None for line in headers.lines.values())
        gc.collect()
        before, counted = tracemalloc.get_traced_memory()[0], headers.counted_bytes
        headers.lines.clear()
        path._kernel = None
        gc.collect()
        assert before - tracemalloc.get_traced_memory()[0] <= counted
    finally:
        tracemalloc.stop()
