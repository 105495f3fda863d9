"""What whoever commits units of work promises, in memory and on Kafka."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import pytest

from streams.engine.ports import Output
from streams.testing import Fail, InjectedError, never_fail

OUTPUTS = (Output("verdicts", b"a", b"1", (("traceparent", b"00"),)), Output("verdicts", b"a", b"2"))
CHANGES: dict[bytes, bytes | None] = {b"s/a": b"1", b"s/b": b"2"}


class UnitWriter(Protocol):
    """`FakeTransactions` or `Transactions`."""

    async def commit(
        self, outputs: Sequence[Output], changes: Mapping[bytes, bytes | None], done: Mapping[str, int]
    ) -> int | None: ...


class Place(ABC):
    """Where units are written, and what others read there."""

    source: str

    @abstractmethod
    async def life(self, failpoint: Callable[[str], None], work: Callable[[UnitWriter], Awaitable[None]]) -> None:
        """One writer from its start to its end, which an error of `work` brings about too."""

    @abstractmethod
    async def outputs(self) -> list[Output]:
        """Every output that was committed, in order; its topic is the short name."""

    @abstractmethod
    async def state(self) -> dict[bytes, bytes]:
        """What a store restored from the changelog holds."""

    @abstractmethod
    async def done(self) -> dict[str, int]:
        """The last offset that was done of each input."""


class TransactionsContract:
    """Tests that a subclass runs by giving `run`, which calls a scenario with a place of its own."""

    def run(self, scenario: Callable[[Place], Awaitable[None]]) -> None:
        raise NotImplementedError

    def test_a_unit_is_committed_whole_and_in_order(self) -> None:
        async def scenario(place: Place) -> None:
            positions: list[int | None] = []

            async def work(writer: UnitWriter) -> None:
                positions.append(await writer.commit(OUTPUTS, CHANGES, {place.source: 6}))
                changes = {b"s/a": b"3", b"s/b": None}
                positions.append(await writer.commit([Output("verdicts", b"a", b"3")], changes, {place.source: 7}))

            await place.life(never_fail, work)
            assert await place.outputs() == [*OUTPUTS, Output("verdicts", b"a", b"3")]
            assert await place.state() == {b"s/a": b"3"}
            assert await place.done() == {place.source: 7}
            first, second = positions
            assert first is not None
            assert second is not None
            assert 2 <= first < second

        self.run(scenario)

    def test_a_unit_without_outputs_or_offsets_is_committed_too(self) -> None:
        async def scenario(place: Place) -> None:
            async def work(writer: UnitWriter) -> None:
                assert await writer.commit((), {b"s/a": b"1"}, {}) is not None

            await place.life(never_fail, work)
            assert (await place.outputs(), await place.state(), await place.done()) == ([], {b"s/a": b"1"}, {})

        self.run(scenario)

    @pytest.mark.parametrize("step", ["begun", "sent"])
    def test_of_a_unit_that_fails_before_its_commit_nobody_reads_anything(self, step: str) -> None:
        async def scenario(place: Place) -> None:
            async def work(writer: UnitWriter) -> None:
                await writer.commit(OUTPUTS[:1], {b"s/a": b"1"}, {place.source: 0})
                await writer.commit(OUTPUTS[1:], {b"s/a": b"2", b"s/b": b"2"}, {place.source: 1})

            with pytest.raises(InjectedError, match=step):
                await place.life(Fail(step, 2), work)
            assert await place.outputs() == [OUTPUTS[0]]
            assert await place.state() == {b"s/a": b"1"}
            assert await place.done() == {place.source: 0}

        self.run(scenario)

    def test_a_unit_that_fails_behind_its_commit_is_there_for_the_next_writer(self) -> None:
        async def scenario(place: Place) -> None:
            async def work(writer: UnitWriter) -> None:
                await writer.commit(OUTPUTS, CHANGES, {place.source: 6})

            with pytest.raises(InjectedError, match="committed"):
                await place.life(Fail("committed"), work)
            assert await place.outputs() == list(OUTPUTS)
            assert await place.state() == CHANGES
            assert await place.done() == {place.source: 6}

        self.run(scenario)

    def test_a_writer_goes_on_where_a_failed_one_stopped(self) -> None:
        async def scenario(place: Place) -> None:
            async def work(writer: UnitWriter) -> None:
                await writer.commit(OUTPUTS, CHANGES, {place.source: 6})

            with pytest.raises(InjectedError):
                await place.life(Fail("sent"), work)
            await place.life(never_fail, work)
            assert await place.outputs() == list(OUTPUTS)
            assert await place.state() == CHANGES
            assert await place.done() == {place.source: 6}

        self.run(scenario)
