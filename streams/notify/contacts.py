"""Whom connectors name as contacts, by tenant, as their topic has it now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from streams.domain.validation import MalformedError
from streams.kafka.cluster import Cluster
from streams.kafka.deadlines import within
from streams.kafka.follower import KafkaLog
from streams.kafka.table import CompactedTable
from streams.kafka.timing import Timing
from streams.notices.checks import check_mail_address
from streams.notify.status import CONTACTS
from streams.notify.telling import Teller
from streams.wire.codec import AvroCodec
from streams.wire.registry import SchemaRegistry

MOST_CONTACTS = 10
"""Of a tenant; those that come first in their order."""


class _Row(NamedTuple):
    tenant_id: str
    contacts: tuple[str, ...]


class Contacts:
    """Follows the connectors' topic until it is cancelled; what it knew stays while the topic cannot be read."""

    def __init__(self, cluster: Cluster, topic: str, registry: SchemaRegistry, timing: Timing, told: Teller) -> None:
        """Follow a topic of a cluster, whose schemas are in a registry."""
        self._cluster, self._topic, self._timing, self._told = cluster, topic, timing, told
        self._codec = AvroCodec("connector", registry)
        self._by_tenant: Mapping[str, tuple[str, ...]] = {}
        self.is_known = asyncio.Event()
        """Set once the topic was read to its end."""

    def of(self, tenant: str) -> tuple[str, ...]:
        """The addresses that a tenant's connectors name, in one order."""
        return self._by_tenant.get(tenant, ())

    async def run(self) -> None:
        """Follow until cancelled; no failure of Kafka or the registry ends it."""
        wait = self._timing.first_retry
        while True:
            began = time.monotonic()
            try:
                await self._follow()
            except Exception as error:  # noqa: BLE001 - whatever failed, it is tried again
                self._told.failed(CONTACTS, error)
            wait = self._timing.first_retry if time.monotonic() - began > self._timing.stall else wait
            await asyncio.sleep(wait)
            wait = min(wait * 2, self._timing.last_retry)

    async def _follow(self) -> None:
        log = KafkaLog(self._cluster, [self._topic])
        # What cannot be read names nobody; the edge tells of it.
        table = CompactedTable(log, self._decode, on_undecodable=lambda _, __: None)
        try:
            await within(self._timing.answer, table.start(), f"reading {self._topic}")
            changed = True
            while True:
                if changed:
                    self._by_tenant = contacts_of(table.rows.values())
                self._told.works(CONTACTS)
                self.is_known.set()
                changed = bool(await within(self._timing.answer, table.poll(), f"reading {self._topic}"))
        finally:
            await log.throw_away()

    def _decode(self, value: bytes) -> _Row:
        record = self._codec.decode(value)
        return _Row(record["tenant_id"], tuple(record["contacts"]))


def contacts_of(rows: Iterable[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """Addresses by tenant: each once, in one order; what is no address is left out."""
    found: dict[str, set[str]] = {}
    for tenant_id, contacts in rows:
        for address in contacts:
            with suppress(MalformedError):
                check_mail_address("contacts", address)
                found.setdefault(tenant_id, set()).add(address)
    return {tenant: tuple(sorted(addresses)[:MOST_CONTACTS]) for tenant, addresses in found.items()}
