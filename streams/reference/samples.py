"""One record of each topic, as the product itself writes it about a server of the sample feed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import orjson

from streams.dev.schema_check import SCHEMA_PATH
from streams.domain.keys import ServerKey
from streams.domain.outputs.notification import AdminNotification, NotificationKind
from streams.domain.outputs.progress import PartitionProgress
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.ladder import Action
from streams.domain.policy.rulebook import PublishedCatalogue, Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.time import DAY_MS
from streams.domain.validation import MalformedError
from streams.edge.connectors.entries import EntryReader
from streams.edge.connectors.topic import record_of
from streams.engine.dead_letters import dead_letter
from streams.engine.dead_letters import log as dead_letter_log
from streams.engine.partition.placement import MisplacedRecordError, Placement
from streams.engine.ports import Output
from streams.kafka.partitioner import kafka_partition
from streams.kafka.record import Headers
from streams.kafka.topics import DEAD_LETTER_LOG, DEAD_LETTER_SUFFIX, TOPICS
from streams.operations.dead_letters import Disposition, DispositionKind, packed_disposition, parse_dead_letter
from streams.policies.catalogue.files import shipped_catalogue, shipped_tables
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.settings.worker import DEFAULT_POLICY, Settings
from streams.state.keys import server_key
from streams.testing import FakeRecord
from streams.wire.catalogue import catalogue_key, catalogue_record
from streams.wire.codec import AvroCodec
from streams.wire.policy import policy_key, policy_record
from streams.wire.records import connection_of, connection_record, to_record
from streams.wire.registry import LocalRegistry
from streams.worker.channels import encode_output
from streams.worker.wiring import record_channels

REPOSITORY: Final = SCHEMA_PATH.resolve().parent
"""The checkout that this runs in; what is installed without one has no sample feed."""
FEED: Final = REPOSITORY / "examples" / "feed.jsonl"
"""The sample feed."""
SHOWN_ITEMS: Final = 3
"""Of a list in a sample that is shown."""
_ISSUER: Final = "admin@example.com"
_PAUSE_DAYS: Final = 10


class Sample(NamedTuple):
    """A record as it is written.

    `record` is what the value holds, Avro-shaped or JSON; None where it is private to the product.
    """

    key: bytes | None
    value: bytes | None
    headers: Headers
    record: Any


class _World(NamedTuple):
    """What happened in the feed to the server that the samples are about, in the order of its happening."""

    connection: InboundConnection
    outputs: dict[str, Any]
    command: AdminCommand


def samples(settings: Settings) -> dict[str, Sample]:
    """By topic, under the names that the settings give them.

    Raises:
        OSError: the sample feed is not there; only a checkout of the repository has it.
    """
    world = _world()
    found = {settings.topic(TOPICS[name]): sample for name, sample in _inputs(world)}
    channels = record_channels(settings)
    for name, emitted in world.outputs.items():
        (output,) = encode_output(channels, emitted, ())
        found[output.topic] = _sample(name, output)
    found |= {settings.topic(TOPICS[name]): sample for name, sample in _published(world, settings)}
    for name, kind in (("inbound_connection", "connections"), ("admin_command", "commands")):
        topic = settings.topic(TOPICS[name])
        found[topic + DEAD_LETTER_SUFFIX] = letter = _dead_letter(topic, found[topic], settings)
        if kind == "connections":
            fields = {"key": letter.key, "value": letter.value, "headers": letter.headers}
            read = SimpleNamespace(topic=topic + DEAD_LETTER_SUFFIX, partition=0, offset=0, timestamp=0, **fields)
            row = parse_dead_letter(kind, read).row
            handled = Disposition(DispositionKind.REPLAYED, world.connection.observed_at, _ISSUER, None)
            value = packed_disposition(handled)
            found[settings.topic(DEAD_LETTER_LOG)] = Sample(row, value, (), orjson.loads(value))
    key = server_key(ServerKey(world.connection.tenant_id, _verdict(world).server))
    found[settings.changelog] = Sample(key, None, (), None)
    return found


def shortened(record: Any) -> Any:
    """A record whose lists are cut to their first `SHOWN_ITEMS`."""
    if isinstance(record, list):
        return [shortened(item) for item in record[:SHOWN_ITEMS]]
    return {name: shortened(item) for name, item in record.items()} if isinstance(record, dict) else record


def schema_id(sample: Sample) -> int:
    """The schema id in front of a value that is Avro."""
    return int.from_bytes((sample.value or b"")[1:5], "big")


def _sample(name: str, output: Output) -> Sample:
    codec = AvroCodec(name, LocalRegistry())
    return Sample(output.key, output.value, output.headers, codec.decode(output.value))


def _encoded(name: str, key: bytes, record: dict[str, Any]) -> Sample:
    codec = AvroCodec(name, LocalRegistry())
    value = codec.encode(record)
    return Sample(key, value, (), codec.decode(value))


def _verdict(world: _World) -> Verdict:
    verdict: Verdict = world.outputs["verdict"]
    return verdict


def _connections(path: Path) -> Iterator[InboundConnection]:
    with path.open("rb") as lines:
        for line in lines:
            with suppress(MalformedError):  # the feed has some such lines on purpose
                yield connection_of(connection_record(line))


def _world() -> _World:
    """The first server of the feed that is throttled, what showed it and what was said of it; then a pause."""
    simulation = Simulation(Rulebook((read_policy(DEFAULT_POLICY),), shipped_catalogue()))
    results, events = simulation.results, dict[str, InboundConnection]()
    for connection in _connections(FEED):
        seen = len(results.verdicts)
        events[connection.event_id] = connection
        simulation.advance(connection.observed_at)
        simulation.feed(connection)
        acting = next((one for one in results.verdicts[seen:] if one.action is Action.THROTTLE), None)
        if acting is None or acting.evidence is None:
            continue
        outputs = {
            "verdict": acting,
            "admin_notification": next(one for one in reversed(results.notifications) if _is_about(one, acting)),
            "server_report": results.servers[acting.key],
        }
        issued_at = acting.issued_at + DAY_MS
        command = AdminCommand(
            f"pause-{acting.tenant_id}",
            *(acting.tenant_id, issued_at, _ISSUER, Role.TENANT_ADMIN, CommandKind.PAUSE_CREATE, _PAUSE_DAYS),
        )
        simulation.command(command)
        return _World(events[acting.evidence.event_id], outputs | {"audit_record": results.audit[-1]}, command)
    raise LookupError(f"{FEED}: no server is throttled")


def _is_about(notification: AdminNotification, verdict: Verdict) -> bool:
    return notification.server == verdict.server and notification.kind is NotificationKind.STAGE_ENTERED


def _inputs(world: _World) -> Iterator[tuple[str, Sample]]:
    key = world.connection.tenant_id.encode()
    yield "inbound_connection", _encoded("inbound_connection", key, to_record(world.connection))
    yield "admin_command", _encoded("admin_command", key, to_record(world.command))


def _published(world: _World, settings: Settings) -> Iterator[tuple[str, Sample]]:
    connection, policy = world.connection, read_policy(DEFAULT_POLICY)
    announced = replace(policy, published_at=policy.effective_at - timedelta(days=1))
    key = policy_key(policy.policy_id, policy.version)
    yield "policy", _encoded("policy", key, policy_record(announced, _ISSUER))
    published = PublishedCatalogue(1, announced.effective_at, shipped_catalogue(), announced.published_at)
    record = catalogue_record(published, shipped_tables(), _ISSUER, "shipped with the product")
    yield "catalogue", _encoded("catalogue", catalogue_key(1), record)
    progress = PartitionProgress(
        partition=kafka_partition(connection.tenant_id.encode(), settings.partitions),
        stream_time=connection.observed_at,
        wall_clock=connection.observed_at,
        policy_id=policy.policy_id,
        policy_version=policy.version,
        worker_version=version("tes"),
        app_id=settings.app_id,
    )
    yield "partition_progress", _encoded("partition_progress", b"%d" % progress.partition, to_record(progress))
    yield "connector", _connector(connection)


def _connector(connection: InboundConnection) -> Sample:
    reader = EntryReader(connection.connector_id)
    match = {"tls_subjects": [connection.helo], "cidrs": [connection.source_ip]}
    content = {
        "connector_id": connection.connector_id,
        "tenant_id": connection.tenant_id,
        "type": connection.connector_type.value,
        "match": match,
        "contacts": [_ISSUER],
    }
    entry = reader.entry(content, 0)
    if entry is None:
        raise ValueError("\n".join(reader.errors))
    publication = {"published_at": connection.observed_at, "published_by": _ISSUER, "source": "connectors.yaml"}
    return _encoded("connector", entry.name.encode(), record_of(entry) | publication)


def _dead_letter(topic: str, sample: Sample, settings: Settings) -> Sample:
    """The letter of a record that another partitioner put where it does not belong."""
    assert sample.key is not None
    wrong = (kafka_partition(sample.key, settings.partitions) + 1) % settings.partitions
    record = FakeRecord(topic, 0, _moment(sample), sample.key, sample.value)
    try:
        Placement(wrong, settings.partitions).check(sample.key)
    except MisplacedRecordError as error:
        letter = _quietly(record, error, wrong)
        return Sample(letter.key, letter.value, letter.headers, sample.record)
    raise AssertionError(f"partition {wrong} takes {sample.key!r}")


def _moment(sample: Sample) -> int:
    moment: int = sample.record.get("observed_at") or sample.record["issued_at"]
    return moment


def _quietly(record: FakeRecord, error: Exception, partition: int) -> Output:
    """The letter, without the line in the log that a worker writes."""
    level = dead_letter_log.level
    dead_letter_log.setLevel(logging.ERROR)
    try:
        return dead_letter(record, error, partition)
    finally:
        dead_letter_log.setLevel(level)
