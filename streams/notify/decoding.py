"""Records of the notifications' topic, decoded into batches; one that is none is named, and passed over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from streams.domain.bounds import MAX_SERVER_CHARS
from streams.domain.validation import MalformedError, check_moment, check_tenant
from streams.kafka.places import Place
from streams.kafka.unread import UnreadBatch
from streams.notify.notice import Notice, notice_of
from streams.notify.recording import Batch, Unreadable
from streams.wire.codec import AvroCodec, UnknownSchemaError
from streams.wire.registry import SchemaRegistry, may_learn

SCHEMA = "admin_notification"
_MOST_MET = 1_000
"""Unknown schemas that are told apart; a registry has not so many."""
_MOST_ID_CHARS = 200


class SchemaAwaitedError(RuntimeError):
    """The schema registry does not know the schema of a record yet."""


class Decoder:
    """Decodes notifications."""

    def __init__(
        self, registry: SchemaRegistry, *, patience: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Decode by a registry.

        Args:
            registry: of schemas.
            patience: so long (seconds) a schema that the registry does not know is waited for, from when it was met.
            clock: returns seconds.
        """
        self._patience, self._clock = patience if may_learn(registry) else 0.0, clock
        self._codec, self._met = AvroCodec(SCHEMA, registry, is_walked=False), dict[int, float]()

    def decode(self, records: Iterable[Any], sources: Mapping[str, str]) -> Batch:
        """The batch of some records; where it begins and ends is not said yet.

        Raises:
            RegistryError: the registry did not answer.
            SchemaAwaitedError: it does not know a record's schema yet.
        """
        batch = Batch(sources)
        notices: list[Notice] = []
        unreadable: list[Unreadable] = []
        for record in records:
            place = Place(record.topic, record.partition)
            if isinstance(record, UnreadBatch):
                unreadable.append(Unreadable(place, record.offset, record.timestamp, str(record.error)))
                continue
            try:
                notices.append(self._notice(place, record))
            except UnknownSchemaError as error:
                now = self._clock()
                if len(self._met) < _MOST_MET and now - self._met.setdefault(error.schema_id, now) < self._patience:
                    raise SchemaAwaitedError(f"{place.topic}-{place.partition}@{record.offset}: {error}") from error
                unreadable.append(Unreadable(place, record.offset, record.timestamp, str(error)))
            except ValueError as error:
                unreadable.append(Unreadable(place, record.offset, record.timestamp, str(error)))
        batch.notices, batch.unreadable = notices, unreadable
        return batch

    def _notice(self, place: Place, record: Any) -> Notice:
        """The notice of a record.

        Raises:
            ValueError: it is none.
        """
        if record.value is None:
            raise MalformedError("value: None: must be a notification")
        decoded = self._codec.decode(record.value)
        check_tenant(decoded["tenant_id"])
        if record.key != decoded["tenant_id"].encode():
            raise MalformedError(f"key: {(record.key or b'')[:80]!r:.100}: must be {decoded['tenant_id'][:80]!r:.100}")
        check_moment("occurred_at", decoded["occurred_at"], None)
        for field, most in (("server", MAX_SERVER_CHARS), ("notification_id", _MOST_ID_CHARS)):
            if len(decoded[field] or "") > most:
                raise MalformedError(f"{field}: {decoded[field][:80]!r:.100}: must be at most {most} characters")
        if not 0 <= (decoded["stage"] or 0) < 2**31:
            raise MalformedError(f"stage: {decoded['stage']}: must be from 0 to {2**31 - 1}")
        return notice_of(place, record.offset, record.timestamp, decoded)
