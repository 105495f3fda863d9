"""What a new owner asks of a coordinator and of leaders before it writes; on a client without brokers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    CoordinatorNotAvailableError,
    IncompatibleBrokerVersion,
    KafkaError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.protocol.offset import OffsetRequest

from streams.kafka.cluster import Client
from streams.kafka.transactional import unmarked
from streams.kafka.transactional.unmarked import undecided_partitions, was_committed

OWN = TopicPartition("changelog", 1)
UNCOMMITTED = 0


class FakeClient:
    """Answers what it was given: states of a transaction, and (log end, stable end) of partitions by round."""

    def __init__(
        self, states: Sequence[tuple[int, str] | KafkaError] = (), rounds: Sequence[dict[TopicPartition, Any]] = ()
    ) -> None:
        self._states, self._rounds = list(states), list(rounds)
        self.topics: list[str] = []
        self.metadata = SimpleNamespace(
            partitions_for_topic=lambda topic: {0, 1} if topic == "verdicts" else None,
            leader_for_partition=lambda partition: 7 if partition in self._rounds[0] else -1,
        )

    async def set_topics(self, topics: list[str]) -> None:
        self.topics = topics

    async def force_metadata_update(self) -> None:
        pass

    async def coordinator_lookup(self, _kind: object, _key: str) -> int:
        if isinstance(self._states[0], KafkaError):
            raise self._states.pop(0)  # type: ignore[misc]
        return 7

    async def send(self, _node: int, request: Any) -> Any:
        if not isinstance(request, OffsetRequest):
            return SimpleNamespace(transactions=[(*self._first(0), "id", self._first(1, takes=True), 0)])
        stands = self._rounds[0]
        is_stable = request._isolation_level != UNCOMMITTED
        if is_stable and len(self._rounds) > 1:
            self._rounds.pop(0)
        return SimpleNamespace(
            topics=[
                (topic, [(number, 0, -1, stands[TopicPartition(topic, number)][is_stable]) for number, _ in rows])
                for topic, rows in request._topics
            ]
        )

    def _first(self, index: int, takes: bool = False) -> Any:
        state = cast(tuple[int, str], self._states.pop(0) if takes else self._states[0])
        return state[index] if takes else (state[index],)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unmarked, "_FAILED_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(unmarked, "_PAUSE_SECONDS", 0.001)


def is_committed(*states: tuple[int, str] | KafkaError) -> bool:
    return asyncio.run(was_committed(cast(Client, FakeClient(states)), "id"))


@pytest.mark.parametrize("state", ["PrepareCommit", "CompleteCommit"])
def test_a_committed_transaction_is_known_as_such(state: str) -> None:
    assert is_committed((0, state))


@pytest.mark.parametrize("state", ["Ongoing", "PrepareAbort", "CompleteAbort", "PrepareEpochFence", "Empty", "Dead"])
def test_any_other_state_tells_nothing_of_one_that_was_left_undecided(state: str) -> None:
    assert not is_committed((0, state))


def test_a_coordinator_that_is_loading_is_asked_again() -> None:
    assert is_committed(CoordinatorNotAvailableError(), (14, ""), (16, ""), (0, "CompleteCommit"))


@pytest.mark.parametrize(
    "answer", [(105, "CompleteCommit"), TransactionalIdAuthorizationFailed(), IncompatibleBrokerVersion()], ids=repr
)
def test_an_id_that_is_not_known_or_not_shown_tells_nothing(answer: tuple[int, str] | KafkaError) -> None:
    assert not is_committed(answer)


def undecided(*rounds: dict[TopicPartition, tuple[int, int]]) -> list[TopicPartition]:
    client = FakeClient(rounds=rounds)
    found = asyncio.run(undecided_partitions(cast(Client, client), OWN, ["verdicts", "missing"]))
    assert client.topics == ["changelog", "verdicts", "missing"]
    return found


def stand(own: int, first: int, second: int) -> dict[TopicPartition, tuple[int, int]]:
    ends = {OWN: own, TopicPartition("verdicts", 0): first, TopicPartition("verdicts", 1): second}
    return {partition: (9, end) for partition, end in ends.items()}


def test_nothing_is_undecided_once_every_transaction_of_before_has_ended() -> None:
    assert undecided(stand(9, 9, 9)) == []
    assert undecided(stand(9, 5, 9), stand(9, 8, 7), stand(9, 9, 9)) == []


def test_what_stays_undecided_is_found_in_ones_own_partition_and_in_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unmarked, "OPEN_SECONDS", 0.01)
    assert undecided(stand(5, 9, 3)) == [OWN, TopicPartition("verdicts", 1)]


def test_a_partition_without_a_leader_is_waited_for_before_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unmarked, "OPEN_SECONDS", 0)
    stands = stand(5, 9, 3)
    del stands[TopicPartition("verdicts", 1)]
    assert undecided(stands, stand(9, 9, 3)) == [TopicPartition("verdicts", 1)]
    monkeypatch.setattr(unmarked, "LEADER_SECONDS", 0.01)
    assert undecided(stands) == [OWN]
