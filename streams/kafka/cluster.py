"""A Kafka cluster, and the only place where clients of it are made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    IllegalOperation,
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    UnknownTopicOrPartitionError,
)
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import BrokerMetadata

import streams.kafka.patches  # corrects what every client reads by
import streams.kafka.unread  # noqa: F401 (bounds what every client takes into memory)
from streams.kafka.deadlines import close_soon
from streams.kafka.patience import is_told_soon
from streams.kafka.shutdown import cancel_and_wait

REFUSAL_SECONDS = 10.0
"""How long an address may take to say why it lets no client in."""
_SOON_SECONDS = 2.0
_SOON_REFUSAL_SECONDS = 5.5
"""A person is told of a wrong address within ten seconds, the start of a process included."""


class ClusterError(KafkaConnectionError):  # type: ignore[misc]
    """No address of the cluster lets this client in; the message has each address with its reason."""

    def __str__(self) -> str:
        return str(self.args[0])


class _Reasoned:
    """A client that says why it cannot start; aiokafka's own error only says that it cannot."""

    owner: Cluster

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    async def start(self) -> None:
        """Connect.

        Raises:
            ClusterError: no address lets it in.
            KafkaError: the cluster let it in, and then failed.
        """
        start = super().start  # type: ignore[misc]
        try:
            await (self._start_soon(start) if is_told_soon.get() else start())
        except KafkaConnectionError as error:
            await self.end()
            if isinstance(error, ClusterError):
                raise
            seconds = _SOON_REFUSAL_SECONDS if is_told_soon.get() else REFUSAL_SECONDS
            raise await self.owner.refusal(seconds) or error from None

    async def _start_soon(self, start: Callable[[], Coroutine[Any, Any, None]]) -> None:
        starting = asyncio.create_task(start())
        try:
            await asyncio.wait({starting}, timeout=_SOON_SECONDS)
            if not starting.done():
                asking = asyncio.create_task(self.owner.refusal(_SOON_REFUSAL_SECONDS))
                await asyncio.wait({starting, asking}, return_when=asyncio.FIRST_COMPLETED)
                if not starting.done() and (refusal := await asking) is not None:
                    raise refusal
                await cancel_and_wait(asking)
            await starting
        finally:
            await cancel_and_wait(starting)

    async def end(self) -> None:
        """Close it; nobody else closes what did not start."""
        await self.stop()  # type: ignore[attr-defined]


class Consumer(_Reasoned, AIOKafkaConsumer):  # type: ignore[misc]
    """Reads topics."""

    async def throw_away(self) -> None:
        """Close it, whatever its brokers do; each part has `CLOSE_SECONDS`."""
        await close_soon(self.stop())
        await close_soon(self._client.close())


class Producer(_Reasoned, AIOKafkaProducer):  # type: ignore[misc]
    """Writes to topics."""

    async def throw_away(self) -> None:
        """Close it without sending what it holds, whatever its brokers do; each part has `CLOSE_SECONDS`."""
        self._closed = True
        if self._sender is not None:
            await close_soon(self._sender.close())
        await close_soon(self.client.close())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A transaction that is committed at the end, and aborted where anything is raised.

        Raises:
            KafkaError: what ended it, where it had ended before; aiokafka would only say that there is none.
        """
        await self.begin_transaction()
        ended = self._txn_manager.wait_for_transaction_end()
        try:
            try:
                yield
            except BaseException:
                if not self._txn_manager.is_fatal_error():
                    with suppress(KafkaError):  # what led to the abort is worth telling, not that it failed as well
                        await self.abort_transaction()
                raise
            await self.commit_transaction()
        except (KafkaError, IllegalOperation):
            # The first error is the cause: those behind it say that there is no transaction, or no valid one.
            if ended.done() and (reason := ended.exception()) is not None:
                raise reason from None
            raise


class _Connections(AIOKafkaClient):  # type: ignore[misc]
    async def start(self) -> None:
        await self.bootstrap()

    async def stop(self) -> None:
        await self.close()


class Client(_Reasoned, _Connections):
    """Sends requests to brokers."""

    @property
    def metadata(self) -> ClusterMetadata:
        """What it knows of brokers, topics and their leaders."""
        return self.cluster


class Admin(_Reasoned, AIOKafkaAdminClient):  # type: ignore[misc]
    """Knows topics and groups."""

    async def end(self) -> None:
        """See `_Reasoned`."""
        await self.close()

    async def unknown_topics(self, names: list[str]) -> set[str]:
        """Those of some topics that a broker does not know, or not yet; a broker that is down is not asked."""
        return {name for broker in self._client.cluster.brokers() for name in await self._unknown_to(broker, names)}

    async def _unknown_to(self, broker: BrokerMetadata, names: list[str]) -> list[str]:
        # One that is down learns of them before it answers anybody.
        with suppress(KafkaError):
            answer = await self._send_request(_metadata_of(names), broker.nodeId)
            return [row["topic"] for row in answer.to_object()["topics"] if row["error_code"] in _NOT_YET]
        return []

    async def _get_cluster_metadata(self, topics: list[str] | None = None) -> Any:
        return await self._send_request(_metadata_of(topics))


_NOT_YET: Final = (UnknownTopicOrPartitionError.errno, LeaderNotAvailableError.errno)


def _metadata_of(topics: list[str] | None) -> MetadataRequest:
    # aiokafka's own lets a broker make the topics that are asked for, with settings that nobody chose.
    return MetadataRequest(topics, allow_auto_topic_creation=False)


AnyClient = TypeVar("AnyClient", bound=_Reasoned)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Addresses (host:port, joined by commas) and what every client needs to be let in; the latter is never shown."""

    bootstrap: str
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def consumer(self, **options: Any) -> Consumer:
        """A consumer with these options of aiokafka; it is not started."""
        return self._client(Consumer, options)

    def producer(self, **options: Any) -> Producer:
        """A producer with these options of aiokafka; it is not started."""
        return self._client(Producer, options)

    def client(self, **options: Any) -> Client:
        """A client for requests of one's own, with these options of aiokafka; it is not started."""
        return self._client(Client, options)

    @asynccontextmanager
    async def opened_client(self, **options: Any) -> AsyncIterator[Client]:
        """The same, started, and closed at the end.

        Raises:
            ClusterError: no address lets it in.
        """
        client = self.client(**options)
        try:
            await client.start()
            yield client
        finally:
            await client.stop()

    def admin(self) -> Admin:
        """A client for topics and groups; it is not started."""
        return self._client(Admin, {})

    @asynccontextmanager
    async def opened_admin(self) -> AsyncIterator[Admin]:
        """A client for topics and groups that is started, and closed at the end.

        Raises:
            ClusterError: no address lets it in.
        """
        admin = self.admin()
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

    def _client(self, kind: type[AnyClient], options: Mapping[str, Any]) -> AnyClient:
        client = kind(bootstrap_servers=self.bootstrap, **self.security, **options)
        client.owner = self
        return client

    async def refusal(self, seconds: float = REFUSAL_SECONDS) -> ClusterError | None:
        """Why no address lets a client in, each asked for so long; None when one does."""
        hosts = collect_hosts(self.bootstrap)
        reasons = await asyncio.gather(*(self._reason(host, port, seconds) for host, port, _ in hosts))
        return None if None in reasons else ClusterError("; ".join(filter(None, reasons)))

    async def _reason(self, host: str, port: int, seconds: float) -> str | None:
        try:
            async with asyncio.timeout(seconds):
                connection = await create_conn(host, port, request_timeout_ms=round(seconds * 1000), **self.security)
        except TimeoutError:
            return f"{host}:{port}: no answer within {seconds:g} s"
        except KafkaError as error:
            return f"{host}:{port}: {error}"
        except OSError as error:
            return f"{host}:{port}: {type(error).__name__}: {error}"
        await connection.close()
        return None
