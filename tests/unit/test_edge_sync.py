"""Sync without a Kafka that answers, and what it tells the door."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from streams.domain.edge import Knowledge
from streams.domain.outputs.progress import PartitionProgress
from streams.edge.store.table import VerdictTable
from streams.edge.store.verdicts import VerdictReader
from streams.edge.sync.app import Sync
from streams.edge.sync.headers import EventHeaders
from streams.edge.sync.skew import ClockSkew
from streams.edge.sync.timing import Timing
from streams.kafka.cluster import Cluster
from streams.kafka.deadlines import NoAnswerError, within
from streams.kafka.unread import UnreadBatch
from streams.wire.registry import LocalRegistry, UnknownSchemaIdError
from tests.support.edge_files import fill_table, spooled_ids, verdict_of
from tests.support.edge_sync import connection_event, running, sign_value, spool_in, until
from tests.support.ports import free_port

IMPATIENT = Timing(
    answer=0.3, stall=0.3, delivery=0.3, look=0.1, linger=0.02, rest=0.1, tick=0.02, first_retry=0.02, last_retry=0.1
)
NOW = 1_800_000_000_000


def sync_without_kafka(folder: Path, address: str = "127.0.0.1:1", clock: Callable[[], int] = lambda: NOW) -> Sync:
    return Sync(Cluster(address), LocalRegistry(), folder, timing=IMPATIENT, clock=clock)


async def survive(folder: Path, address: str) -> None:
    """Run for some tries without Kafka: mail has its verdicts and its spool all the while."""
    fill_table(folder, verdict_of(1), confirmed_at=5)
    spool = spool_in(folder)
    assert spool.append(connection_event(1), b"client")
    reader = VerdictReader(folder)
    reader.open()
    async with running(sync_without_kafka(folder, address)) as sync:
        await until(lambda: len(sync.status().failures) == 4)
        before = len(asyncio.all_tasks())
        for _ in range(3):
            await asyncio.sleep(1)
            assert spool.append(connection_event(2), b"client")
        # What is thrown away is gone.
        assert len(asyncio.all_tasks()) < before + 30
        reader.poll()
        assert reader.sync_alive_at == NOW
        assert reader.knowledge == Knowledge(5)
        assert reader.find(verdict_of(1).key) == verdict_of(1)
        assert sync.status().waiting.events == 4
    assert spooled_ids(folder) == ["event-1", "event-2", "event-2", "event-2"]


def test_a_kafka_that_refuses_is_waited_for(tmp_path: Path) -> None:
    asyncio.run(survive(tmp_path, f"127.0.0.1:{free_port()}"))


def test_a_kafka_that_takes_connections_and_never_answers_is_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        connections: set[asyncio.StreamWriter] = set()

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.add(writer)
            try:
                while await reader.read(1000):
                    pass
            finally:
                connections.discard(writer)
                writer.close()

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        try:
            await survive(tmp_path, f"{host}:{port}")
            await until(lambda: not connections)
        finally:
            server.close()

    asyncio.run(scenario())


def sign(partition: int, wall_clock: int) -> PartitionProgress:
    return PartitionProgress(partition, None, wall_clock, "p", 1, "1")


@pytest.mark.parametrize(
    ("complete_at", "signs", "confirmed_at"),
    [
        (NOW - 10, {0: NOW - 500, 1: NOW - 20}, NOW - 500),
        (NOW - 900, {0: NOW - 500, 1: NOW - 20}, NOW - 900),
        (NOW - 10, {0: NOW + 500, 1: NOW + 20}, NOW - 10),
        (NOW + 10, {0: NOW + 500, 1: NOW + 20}, NOW),
        (NOW - 10, {0: NOW}, None),
        (NOW - 10, {}, None),
        (None, {0: NOW, 1: NOW}, None),
    ],
)
def test_verdicts_are_confirmed_by_the_topic_and_by_every_worker(
    tmp_path: Path, complete_at: int | None, signs: dict[int, int], confirmed_at: int | None
) -> None:
    assert told(tmp_path, complete_at, signs) == confirmed_at


@pytest.mark.parametrize(
    ("known", "complete_at", "confirmed_at"),
    [
        (NOW - 5, NOW - 10, NOW - 5),
        (NOW - 50, None, NOW - 50),
        (NOW + 3_600_000, NOW - 10, NOW - 10),
    ],
)
def test_what_was_confirmed_stays_unless_a_wrong_clock_said_so(
    tmp_path: Path, known: int, complete_at: int | None, confirmed_at: int
) -> None:
    fill_table(tmp_path, confirmed_at=known)
    assert told(tmp_path, complete_at, {0: NOW, 1: NOW}) == confirmed_at


@pytest.mark.parametrize(("timestamp_type", "moment"), [(0, NOW + 36_000_000), (1, NOW)])
def test_a_worker_whose_clock_is_ahead_is_not_alive_beyond_the_brokers_time(
    tmp_path: Path, timestamp_type: int, moment: int
) -> None:
    record = SimpleNamespace(
        value=sign_value(0, NOW + 36_000_000), topic="t", offset=0, timestamp=NOW, timestamp_type=timestamp_type
    )
    signs = sync_without_kafka(tmp_path)._signs
    signs.inputs = 1
    asyncio.run(signs._take([record], NOW))
    assert signs.newest[0].wall_clock == moment


def unread_batch(topic: str) -> UnreadBatch:
    return UnreadBatch(topic, 0, 0, 0, bytes(16) + b"\2" + bytes(44), ValueError("damaged"))


def test_signs_of_life_behind_a_batch_that_cannot_be_read_count(tmp_path: Path) -> None:
    record = SimpleNamespace(value=sign_value(0, NOW), topic="t", offset=1, timestamp=NOW, timestamp_type=1)
    signs = sync_without_kafka(tmp_path)._signs
    signs.inputs = 1
    asyncio.run(signs._take([unread_batch("signs"), record, unread_batch("signs")], NOW))
    assert (signs.alive_at, signs.unreadable) == (NOW, 2)


def test_no_connector_is_gone_because_a_batch_cannot_be_read(tmp_path: Path) -> None:
    sync = sync_without_kafka(tmp_path)
    sync._table.open()
    sync._table.write_connectors({b"contoso/main": b"{}", b"contoso/gone": b"{}"}, NOW)
    connectors = sync._connectors
    connectors._openings = sync._table.openings
    gone = SimpleNamespace(key=b"contoso/gone", value=None)
    asyncio.run(connectors._take([unread_batch("connectors"), gone], NOW))
    assert sync._table.connectors() == {b"contoso/main": b"{}"}
    assert connectors.unreadable == 1


def told(folder: Path, complete_at: int | None, signs: dict[int, int]) -> int | None:
    """What the door is told where sync knows this of two input partitions."""
    sync = sync_without_kafka(folder)
    sync._table.open()
    sync._verdicts.complete_at = complete_at
    sync._signs.inputs = 2
    sync._signs.newest = {number: sign(number, wall_clock) for number, wall_clock in signs.items()}
    sync._write()
    reader = VerdictReader(folder)
    reader.open()
    return reader.knowledge.confirmed_at


def test_the_clock_is_wrong_only_as_far_as_that_is_proven() -> None:
    skew = ClockSkew()
    skew.received(NOW - 5_000_000, NOW)
    assert skew.milliseconds == 0
    skew.received(NOW + 70_000, NOW)
    assert skew.milliseconds == 70_000
    skew.answered(NOW, NOW + 20, NOW + 50)
    assert skew.milliseconds == 0
    skew.answered(NOW, NOW - 90_000, NOW + 50)
    assert skew.milliseconds == 90_000
    skew.received(NOW - 90_000, NOW)
    assert skew.milliseconds == 90_000
    skew.answered(NOW, NOW + 90_050, NOW + 50)
    assert skew.milliseconds == 90_000
    skew.answered(NOW, NOW, NOW)
    assert skew.milliseconds == 0


def test_the_door_is_told_of_a_wrong_clock(tmp_path: Path) -> None:
    sync = sync_without_kafka(tmp_path)
    sync._table.open()
    sync._skew.received(NOW + 70_000, NOW)
    sync._write()
    reader = VerdictReader(tmp_path)
    reader.open()
    assert reader.knowledge == Knowledge(None, 70_000)


class OtherIds:
    """A registry that counts its own way."""

    def id_of(self, subject: str, schema: dict[str, object]) -> int:
        assert subject == "transport.connections.v1-value"
        assert schema["name"] == "InboundConnection"
        return 4711

    def known_id_of(self, subject: str, schema: dict[str, object]) -> int | None:
        return self.id_of(subject, schema)

    def schema_of(self, schema_id: int) -> dict[str, object]:
        raise UnknownSchemaIdError(schema_id)


def test_a_body_gets_the_id_of_the_registry_that_readers_ask() -> None:
    headers, body = EventHeaders(OtherIds()), connection_event(1).body
    assert headers.known(body) is None
    headers.learn(body)
    assert headers.known(body) == b"\0" + (4711).to_bytes(4, "big") + body[5:]
    assert headers.known(body[:5]) == b"\0" + (4711).to_bytes(4, "big")


@pytest.mark.parametrize("body", [b"", b"\0\0\0", b"\1\0\0\0\1rest"])
def test_a_body_without_a_header_is_none(body: bytes) -> None:
    with pytest.raises(ValueError, match="must be a header"):
        EventHeaders(OtherIds()).learn(body)


def test_a_body_of_a_newer_version_is_not_known() -> None:
    with pytest.raises(UnknownSchemaIdError):
        EventHeaders(OtherIds()).learn(b"\0\x7f\0\0\0rest")


def test_whoever_waits_goes_on_without_a_client_that_does_not_end() -> None:
    async def scenario() -> None:
        may_end = asyncio.Event()

        async def stubborn() -> None:
            while not may_end.is_set():
                try:
                    await may_end.wait()
                except asyncio.CancelledError:
                    continue

        with pytest.raises(NoAnswerError, match=r"asking: no answer within 0.05 s"):
            await within(0.05, stubborn(), "asking")
        may_end.set()

        async def given_up() -> None:
            raise asyncio.CancelledError

        with pytest.raises(NoAnswerError, match="the client gave up"):
            await within(5, given_up(), "asking")

    asyncio.run(scenario())


def test_a_table_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "edge"
    folder.touch()

    async def scenario() -> None:
        async with running(sync_without_kafka(folder)) as sync:
            await until(lambda: "verdicts" in sync.status().failures)
            assert "FileExistsError" in sync.status().failures["verdicts"] or "NotADirectory" in str(sync.status())
            folder.unlink()
            await until((folder / "verdicts.db").exists)

    asyncio.run(scenario())
    table = VerdictTable(folder)
    table.open()
    assert table.status()["sync_alive_at"] == NOW
