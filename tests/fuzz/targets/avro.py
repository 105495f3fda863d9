"""Avro values as a worker fetches them: the codec, the readers behind it, and the processor of a partition.

The first byte says which schema the rest is a value of, and whether the rest has the header already.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from streams.domain.policy.content import PolicyError
from streams.domain.time import DAY_MS
from streams.engine.partition.view import StateView
from streams.kafka.topics import TOPICS
from streams.policies.catalogue.files import shipped_catalogue
from streams.settings.worker import Settings
from streams.testing import FakeRecord, MemoryStore
from streams.wire.codec import AvroCodec, MalformedRecordError
from streams.wire.fast_connection import decode_fast
from streams.wire.fast_headers import fast_headers
from streams.wire.policy import policy_of, policy_record
from streams.wire.records import command_of, connection_of, to_record
from streams.wire.registry import LocalRegistry
from streams.worker.processor import InputProcessor
from streams.worker.wiring import record_channels
from tests.fuzz.targets.policies import check_errors, check_policy
from tests.fuzz.targets.service import START, TENANT, check_reason, codec, connection, pause, rulebook

SCHEMAS = ("inbound_connection", "admin_command", "policy")
_SETTINGS = Settings()
_WIRES, _FAST_HEADERS = record_channels(_SETTINGS), fast_headers(LocalRegistry())
TOPIC_OF = {schema: _SETTINGS.topic(TOPICS[schema]) for schema in SCHEMAS[:2]}


def check(data: bytes) -> None:
    """A value is malformed, or a record that its reader takes; a worker applies it or makes it one dead letter."""
    schema = SCHEMAS[data[0] % len(SCHEMAS)] if data else SCHEMAS[0]
    value = data[1:] if data[:1] >= b"\x80" else header(schema) + data[1:]
    decoded = _decoded(codec(schema), value)
    if schema == "policy":
        if decoded is not None:
            _check_policy(decoded)
        return
    projected = decode_fast(value, _FAST_HEADERS)
    if schema == "inbound_connection" and projected is not None:
        assert decoded is not None
        assert projected.connection() == connection_of(decoded)
    elif decoded is not None:
        connection_of(decoded) if schema == "inbound_connection" else command_of(decoded)
    key = decoded["tenant_id"].encode() if decoded is not None else TENANT.encode()
    rejected = process(TOPIC_OF[schema], key, value)
    assert rejected or decoded is not None


def header(schema: str) -> bytes:
    """The Confluent header of the schema as it is now."""
    return codec(schema).encode(sample(schema))[:5]


def sample(schema: str) -> dict[str, Any]:
    """A sound record of a schema."""
    if schema == "policy":
        return policy_record(rulebook().policies[0], "operator", "text")
    record: dict[str, Any] = to_record(connection() if schema == "inbound_connection" else pause())
    return record


def _decoded(reader: AvroCodec, value: bytes) -> dict[str, Any] | None:
    try:
        record = reader.decode(value)
    except MalformedRecordError as error:
        check_reason(error, 1000)
        return None
    assert reader.decode(reader.encode(record)) == record
    return record


def _check_policy(record: dict[str, Any]) -> None:
    try:
        policy = policy_of(record, shipped_catalogue())
    except PolicyError as error:
        check_errors(error)
    else:
        check_policy(policy)


@cache
def _known() -> dict[bytes, bytes | None]:
    """The state after a connection and a pause: what comes next finds a known server."""
    store = MemoryStore()
    for name, topic in TOPIC_OF.items():
        view = _worked_off(store, topic, TENANT.encode(), codec(name).encode(sample(name)))
        assert not view.rejected
        store.write(view.changes)
    # Connections are only counted once the policies are taken over.
    store.write(_ticked(store, START).changes)
    return dict(store.scan(b"", b"\xff"))


def process(topic: str, key: bytes, value: bytes) -> bool:
    """Process a value, and the months after it; True for a dead letter, which leaves the state as it was."""
    store = MemoryStore()
    store.write(_known())
    view = _worked_off(store, topic, key, value)
    letters = [output for output in view.outputs if output.topic == f"{topic}.dlq"]
    assert len(letters) == view.rejected
    if view.rejected:
        assert [letter.value for letter in letters] == [value]
        assert view.outputs == letters
        assert not view.changes
        return True
    store.write(view.changes)
    _ticked(store, START + 100 * DAY_MS)
    return False


def _ticked(store: MemoryStore, moment: int) -> StateView:
    processor, view = _processor(), StateView(store)
    processor.begin(view)
    while processor.on_tick(view, moment, 50):
        pass
    processor.finish(view)
    return view


def _processor() -> InputProcessor:
    return InputProcessor(rulebook, _WIRES, _FAST_HEADERS, replay_until=START)


def _worked_off(store: MemoryStore, topic: str, key: bytes, value: bytes) -> StateView:
    processor, view = _processor(), StateView(store)
    processor.begin(view)
    assert processor.on_records(view, [FakeRecord(topic, 0, START, key, value, ())], None) == 1
    processor.finish(view)
    return view
