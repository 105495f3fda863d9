"""A correction to what aiokafka 0.14.0 makes of a compacted topic, for all of its consumers, Faust's included.

When compaction takes the marker of a transaction away, the broker may keep its batch without a record, so that the
writer's sequence is known. aiokafka refuses such a batch, and a changelog that has one could never be restored. It is
the marker of nothing: what it once ended is gone from the log, or was committed.

Importing this module puts it in place.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from aiokafka.consumer import fetcher

_has_abort_marker = fetcher.PartitionRecords._contains_abort_marker


def _contains_abort_marker(self: Any, batch: Any) -> bool:
    first = next(batch, None)
    return first is not None and bool(_has_abort_marker(self, chain((first,), batch)))


fetcher.PartitionRecords._contains_abort_marker = _contains_abort_marker
