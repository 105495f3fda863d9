"""Records of the four topics, decoded into batches; one that is none of its topic is named, and passed over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from streams.domain.bounds import MAX_SERVER_CHARS
from streams.domain.keys import ServerKey
from streams.domain.tenant.publications import ALL_TENANTS
from streams.domain.time import CALENDAR_END_MS
from streams.domain.validation import MalformedError, check_moment, check_tenant
from streams.kafka.places import Place
from streams.kafka.unread import UnreadBatch
from streams.report.model.batch import AUDIT, NOTIFICATIONS, READ, SERVERS, VERDICTS, Batch, Read, Unreadable
from streams.report.store.rows import detail_of
from streams.wire.codec import AvroCodec, UnknownSchemaError
from streams.wire.registry import SchemaRegistry, may_learn

_MOST_INT: Final = 2**31 - 1
_MOST_COUNT: Final = 2**53
_KNOWN_TENANTS: Final = 100_000
_MOST_MET: Final = 1_000
"""Unknown schemas that are told apart; a registry has not so many."""
_INTS: Final[Mapping[str, tuple[str, ...]]] = {
    SERVERS: ("stage", "verdict_revision", "policy_version", "next_stage_throttle_rate", "next_stage_block_rate"),
    VERDICTS: ("revision", "stage", "throttle_minutes_per_hour", "block_minutes_per_hour"),
    NOTIFICATIONS: (),
    AUDIT: (),
}
_MOMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    SERVERS: ("reported_at", "first_seen_at", "last_seen_at"),
    VERDICTS: ("effective_at",),
    NOTIFICATIONS: ("occurred_at",),
    AUDIT: ("occurred_at",),
}
_LATER: Final = ("next_stage_start_date", "paused_until", "exempt_until", "override_until")
"""Moments of a server's report that may be null."""
_COUNTERS: Final = ("connections", "accepted", "deferred", "rejected")


class Decoder:
    """Decodes what the product's own topics hold."""

    def __init__(
        self,
        registry: SchemaRegistry,
        topic: Callable[[str], str],
        *,
        patience: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Decode records of some topics.

        Args:
            registry: of their schemas.
            topic: gives a topic's whole name by the name of its schema.
            patience: so long (seconds) a schema that the registry does not know is waited for, from when it was met.
            clock: returns seconds.
        """
        self._patience, self._clock = patience if may_learn(registry) else 0.0, clock
        self._met: dict[int, float] = {}
        self._codecs = {topic(name): (name, AvroCodec(name, registry, is_walked=False)) for name in READ}
        self._tenants: set[str] = set()

    def decode(self, records: Iterable[Any], sources: Mapping[str, str]) -> Batch:
        """The batch of some records; where it begins and ends is not said yet, but for partitions where one waits.

        These end in front of it, and what comes behind it is left out.

        Raises:
            RegistryError: the registry did not answer.
        """
        batch = Batch(sources)
        unreadable: list[Unreadable] = []
        waits: dict[Place, Unreadable] = {}
        reads: dict[str, list[Read]] = {name: [] for name in READ}
        for record in records:
            place = Place(record.topic, record.partition)
            if place in waits:
                continue
            name, codec = self._codecs[record.topic]
            if isinstance(record, UnreadBatch):
                unreadable.append(Unreadable(place, record.offset, record.timestamp, str(record.error)))
                continue
            try:
                key, decoded = self._record(name, codec, record)
            except UnknownSchemaError as error:
                waiting = Unreadable(place, record.offset, record.timestamp, str(error))
                if self._is_waited_for(error.schema_id):
                    waits[place] = waiting
                else:
                    unreadable.append(waiting)
            except ValueError as error:
                unreadable.append(Unreadable(place, record.offset, record.timestamp, str(error)))
            else:
                # Here, while another batch is written: writing takes longer than decoding.
                detail = None if decoded is None else detail_of(decoded)
                reads[name].append(Read(place, record.offset, record.timestamp, key, decoded, detail))
        batch.servers, batch.verdicts = reads[SERVERS], reads[VERDICTS]
        batch.notifications, batch.audits = reads[NOTIFICATIONS], reads[AUDIT]
        batch.unreadable, batch.waits = unreadable, waits
        return batch

    def _is_waited_for(self, schema_id: int) -> bool:
        """Whether a schema that the registry does not know may still come."""
        if not self._patience or (schema_id not in self._met and len(self._met) >= _MOST_MET):
            return False
        now = self._clock()
        return now - self._met.setdefault(schema_id, now) < self._patience

    def _record(self, name: str, codec: AvroCodec, record: Any) -> tuple[ServerKey, dict[str, Any] | None]:
        """What a record is about, and what it holds; None for a tombstone.

        Raises:
            ValueError: nothing that a row can be made of.
        """
        if record.key is None:
            raise MalformedError("key: None: must name a tenant")
        is_table = name in (SERVERS, VERDICTS)
        if record.value is None and is_table:
            key = ServerKey.parse(record.key)
            self._check_key(key)
            return key, None
        decoded = codec.decode(record.value)
        key = ServerKey(decoded["tenant_id"], decoded["server"] if is_table else "")
        expected = f"{key.tenant_id}/{key.server}" if is_table else key.tenant_id
        if record.key != expected.encode():
            raise MalformedError(f"key: {record.key[:80]!r:.100}: must be {expected[:80]!r:.100}")
        if name != AUDIT or key.tenant_id != ALL_TENANTS:
            self._check_key(key)
        self._check_values(name, decoded)
        return key, decoded

    def _check_key(self, key: ServerKey) -> None:
        tenant_id, server = key
        if tenant_id not in self._tenants:
            check_tenant(tenant_id)
            if len(self._tenants) < _KNOWN_TENANTS:
                self._tenants.add(tenant_id)
        if len(server) > MAX_SERVER_CHARS or "\0" in server:
            raise MalformedError(
                f"server: {server[:80]!r:.100}: must be at most {MAX_SERVER_CHARS} characters, none of them 0"
            )

    def _check_values(self, name: str, record: Mapping[str, Any]) -> None:
        for field in _INTS[name]:
            if not 0 <= (record[field] or 0) <= _MOST_INT:
                raise MalformedError(f"{field}: {record[field]}: must be from 0 to {_MOST_INT}")
        for field in _MOMENTS[name]:
            check_moment(field, record[field], None)
        if name == SERVERS:
            for field in _COUNTERS:
                if not 0 <= record[field] < _MOST_COUNT:
                    raise MalformedError(f"{field}: {record[field]}: must be from 0 to {_MOST_COUNT - 1}")
            for field in _LATER:
                _check_date(field, record[field] or 0)
            for stage in record["schedule"]:
                _check_date("schedule.starts_at", stage["starts_at"])


def _check_date(field: str, moment: int) -> None:
    """Refuse a moment that no page and no export could show."""
    if not 0 <= moment < CALENDAR_END_MS:
        raise MalformedError(f"{field}: {moment}: must be a timestamp in milliseconds, before year 10000")
