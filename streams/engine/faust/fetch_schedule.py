"""Which partitions are fetched next: those whose owner has capacity, each in turn, from where its state ends."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from faust.types import TP

from streams.engine.faust.owner import PartitionOwner

FETCH_WAIT_MS = 100
"""How long the broker may hold an empty fetch; Faust's own 1,500 ms delays every seek and rebalance by as much."""
BUSY_WAIT_SECONDS = 0.02
"""How long a fetch waits while another partition has no capacity, which it may have again at any time."""
NOTHING_WAIT_SECONDS = 0.005
"""How long to wait while no partition has capacity."""
BATCHES_IN_DELIVERY = 2
"""Per partition, between the fetch and its owner's queue."""


class FetchClient(Protocol):
    """The Kafka client that fetches."""

    async def fetch(self, partitions: set[TP], seconds: float) -> dict[TP, list[Any]]:
        """The next records of these partitions, by partition; waits for some at most so long."""

    async def seek_to(self, tp: TP, offset: int) -> None:
        """Fetch the partition from this offset on."""

    def position_and_end(self, partition: int) -> tuple[int, int] | None:
        """Where the next fetch begins and where the partition ended at the last one; None before the first."""


class FetchSchedule:
    """Chooses what to fetch. Partitions of other topics than the source are Faust's own, and always fetched.

    `max_records` is the size of a full fetch.
    """

    def __init__(self, owner: PartitionOwner, client: FetchClient, max_records: int) -> None:
        self._owner, self._client, self._max_records = owner, client, max_records
        self._seeked: set[TP] = set()
        self._fetched_up: set[TP] = set()
        self._ends: dict[TP, int] = {}
        self._in_delivery: dict[TP, int] = {}
        self._recently_served: set[TP] = set()

    def forget_positions(self) -> None:
        """Seek every partition again before it is fetched."""
        self._seeked.clear()
        self._fetched_up.clear()
        self._in_delivery.clear()
        self._recently_served.clear()

    def is_seeked(self, tp: TP) -> bool:
        """Whether the partition is fetched from its owner's offset on."""
        return tp in self._seeked

    def is_caught_up(self, partition: int) -> bool:
        """Whether the last fetch reached the partition's end, and its owner has all of it."""
        tp = TP(self._owner.source, partition)
        return tp in self._fetched_up and not self._in_delivery.get(tp)

    def delivered(self, partition: int) -> None:
        """A batch has reached its owner's queue."""
        tp = TP(self._owner.source, partition)
        self._in_delivery[tp] = max(0, self._in_delivery.get(tp, 0) - 1)

    async def fetch(self, active: set[TP]) -> dict[TP, list[Any]]:
        """The next records of the partitions among `active` that may be fetched; empty where there are none."""
        wanted = await self._fetchable(active)
        if not wanted:  # an empty set means all to aiokafka
            await asyncio.sleep(NOTHING_WAIT_SECONDS)
            return {}
        found: dict[TP, list[Any]] = {}
        if self._recently_served & wanted and (others := wanted - self._recently_served):
            found = await self._client.fetch(others, 0.0)
        if not found:
            self._recently_served.clear()
            seconds = FETCH_WAIT_MS / 1000 if wanted == active else BUSY_WAIT_SECONDS
            found = await self._client.fetch(wanted, seconds)
        # aiokafka serves a partition until it has nothing left of it; the others get their turn after a full batch.
        if sum(map(len, found.values())) >= self._max_records:
            self._recently_served.update(found)
        else:
            self._recently_served.clear()
        for tp in wanted & self._seeked:
            if tp in found:
                self._in_delivery[tp] = self._in_delivery.get(tp, 0) + 1
            self._note_end(tp)
        return found

    async def _fetchable(self, active: set[TP]) -> set[TP]:
        """The partitions to fetch: of the source those with capacity, each sought to its owner's offset first."""
        wanted = set()
        for tp in active:
            if tp.topic != self._owner.source:
                wanted.add(tp)
            elif self._owner.has_capacity(tp.partition) and self._in_delivery.get(tp, 0) < BATCHES_IN_DELIVERY:
                if tp not in self._seeked:
                    # Its first records may have been fetched and dropped; the group's offset need not be the state's.
                    self._seeked.add(tp)
                    await self._client.seek_to(tp, self._owner.next_offset(tp.partition) or 0)
                wanted.add(tp)
        # A rebalance during a seek forgets all of them.
        return {tp for tp in wanted if tp.topic != self._owner.source or tp in self._seeked}

    def _note_end(self, tp: TP) -> None:
        place = self._client.position_and_end(tp.partition)
        was_up = tp in self._fetched_up
        if place is not None:
            # A broker that has just come back may tell of an earlier end than it did before.
            self._ends[tp] = max(self._ends.get(tp, 0), place[1])
        if place is not None and place[0] >= self._ends[tp]:
            self._fetched_up.add(tp)
        else:
            self._fetched_up.discard(tp)
        if was_up != (tp in self._fetched_up):
            self._owner.notify(tp.partition)
