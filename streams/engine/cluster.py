"""A Kafka cluster, and the only place where clients of it are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

Consumer: TypeAlias = AIOKafkaConsumer
Producer: TypeAlias = AIOKafkaProducer
Admin: TypeAlias = AIOKafkaAdminClient


@dataclass(frozen=True, slots=True)
class Cluster:
    """Addresses (host:port, joined by commas) and what every client needs to be let in; the latter is never shown."""

    bootstrap: str
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def consumer(self, **options: Any) -> Consumer:
        """A consumer with these options of aiokafka; it is not started."""
        return Consumer(bootstrap_servers=self.bootstrap, **self.security, **options)

    def producer(self, **options: Any) -> Producer:
        """A producer with these options of aiokafka; it is not started."""
        return Producer(bootstrap_servers=self.bootstrap, **self.security, **options)

    def admin(self) -> Admin:
        """A client for topics and groups; it is not started."""
        return Admin(bootstrap_servers=self.bootstrap, **self.security)
