"""What Faust's app is given in place of its own parts: transport, fetcher, schema and tables."""

from __future__ import annotations

from typing import Any

from faust.serializers.schemas import Schema
from faust.tables import TableManager
from faust.transport.consumer import Fetcher
from faust.transport.drivers import aiokafka as driver
from mode import Service

from streams.engine.faust.consumer import BatchConsumer
from streams.engine.faust.owner import PartitionOwner


class BatchSchema(Schema[Any, Any]):
    """An event's value is the list of records as fetched; nothing is decoded per record."""

    def compile(self, app: Any, **_: Any) -> Any:
        """A decoder that passes the batch through."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode


class BatchFetcher(Fetcher):
    """Runs the consumer's fetch loop."""

    @Service.task
    async def _fetcher(self) -> None:
        """Fetch until told to stop; Faust's takes the cancellation of an ending worker in a rebalance for a crash."""
        try:
            consumer: Any = self.app.consumer
            await consumer._drain_messages(self)
        finally:
            self.set_shutdown()


class BatchTransport(driver.Transport):
    """Makes the consumer and the fetcher; `owner` is who has the partitions."""

    Consumer = BatchConsumer
    Fetcher = BatchFetcher

    def __init__(self, url: Any, app: Any, owner: PartitionOwner) -> None:
        super().__init__(url, app)
        self.owner = owner


class NoTables(TableManager):
    """Starts at once, since there are no tables."""

    async def on_start(self) -> None:
        """Faust sleeps a second here for tables that are declared late."""
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()
