"""What the settings say, made into the parts that a worker and the commands of operators need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Final

from streams.clock import wall_clock_ms
from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import PublishedCatalogue, Rulebook, Service, effective_policies
from streams.engine.config import PartitionConfig
from streams.engine.deadlines import drain_seconds
from streams.engine.partition.placement import Placement
from streams.engine.processor import Processor
from streams.engine.telemetry import Telemetry
from streams.kafka.cluster import Cluster
from streams.kafka.topics import DEAD_LETTER_SUFFIX, TOPICS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.configured import configured_policies
from streams.settings.worker import Settings
from streams.state.inspect import format_of
from streams.state.row_format import STATE_FORMAT
from streams.wire.codec import AvroCodec
from streams.wire.fast_headers import fast_headers
from streams.wire.records import parse_moment
from streams.wire.registry import registry_of
from streams.worker.channels import RecordChannels
from streams.worker.processor import InputProcessor
from streams.worker.progress import SignsOfLife

OUTPUTS: Final = (
    *map(TOPICS.__getitem__, ("verdict", "admin_notification", "server_report", "audit_record", "partition_progress")),
    *(TOPICS[name] + DEAD_LETTER_SUFFIX for name in ("inbound_connection", "admin_command")),
)
"""What a worker writes to, beside its changelog."""


def rulebook_of(
    settings: Settings, published: Sequence[Policy] = (), catalogues: Sequence[PublishedCatalogue] = ()
) -> Rulebook:
    """The rulebook of the policies that the settings name, and of the policies and catalogues published.

    Raises:
        ValueError: a policy is malformed, or two policies or two catalogues begin at the same moment.
    """
    service = Service(settings.service_name, settings.service_link)
    policies = effective_policies(configured_policies(settings), published)
    return Rulebook(policies, shipped_catalogue(), service, tuple(catalogues))


def record_channels(settings: Settings) -> RecordChannels:
    """Topics and codecs."""
    registry = registry_of(settings)
    return RecordChannels(
        connections_topic=settings.topic(TOPICS["inbound_connection"]),
        connections=AvroCodec("inbound_connection", registry),
        commands=AvroCodec("admin_command", registry),
        verdicts_topic=settings.topic(TOPICS["verdict"]),
        verdicts=AvroCodec("verdict", registry, is_checked=False),
        notifications_topic=settings.topic(TOPICS["admin_notification"]),
        notifications=AvroCodec("admin_notification", registry, is_checked=False),
        servers_topic=settings.topic(TOPICS["server_report"]),
        servers=AvroCodec("server_report", registry, is_checked=False),
        audit_topic=settings.topic(TOPICS["audit_record"]),
        audit=AvroCodec("audit_record", registry, is_checked=False),
    )


def replay_end(settings: Settings) -> int | None:
    """The moment that takes the place of the wall clock (UTC milliseconds); None for a live service."""
    return parse_moment("TES_REPLAY_UNTIL", settings.replay_until) if settings.replay_until else None


def partition_config(settings: Settings, cluster: Cluster) -> PartitionConfig:
    """Where a partition's records come from and go to."""
    return PartitionConfig(
        cluster=cluster,
        app_id=settings.app_id,
        group=settings.app_id,
        source=settings.topic(TOPICS["inbound_connection"]),
        changelog=settings.changelog,
        outputs=tuple(map(settings.topic, OUTPUTS)),
        merged=settings.topic(TOPICS["admin_command"]),
        gather_seconds=settings.gather_seconds,
        tick_seconds=settings.tick_seconds,
        drain_seconds=drain_seconds(settings.session_timeout_seconds),
        accepts_gaps=settings.accept_gaps,
        state_format=STATE_FORMAT,
        format_of=format_of,
    )


def processors(
    settings: Settings, rulebook: Callable[[], Rulebook], telemetry: Telemetry
) -> Callable[[int, int], Processor]:
    """What makes the processor of a partition, among so many."""
    channels, headers, until = record_channels(settings), fast_headers(registry_of(settings)), replay_end(settings)
    progress, worker_version = AvroCodec("partition_progress", registry_of(settings)), version("tes")

    def signs() -> SignsOfLife | None:
        if until is not None:
            return None  # a replay says nothing of now
        topic = settings.topic(TOPICS["partition_progress"])
        return SignsOfLife(topic, progress, settings.app_id, worker_version, wall_clock_ms)

    def processor(partition: int, partitions: int) -> Processor:
        return InputProcessor(
            rulebook,
            channels,
            headers,
            until,
            cached_servers=settings.cached_servers_of_partition,
            telemetry=telemetry,
            placement=Placement(partition, partitions),
            signs=signs(),
        )

    return processor
