"""Composition root: the only module that builds the Faust app and wires the parts of a worker."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import uvloop
from aiokafka.errors import KafkaError

from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import PublishedCatalogue, Rulebook, Service, effective_policies
from streams.engine.config import PartitionConfig
from streams.engine.faust.app import EXIT_FAILED, BatchApp, BatchSchema, BatchWorker
from streams.engine.faust.credentials import credentials_of
from streams.engine.faust.watchdog import run_watchdog
from streams.engine.partition.placement import Placement
from streams.kafka.preflight import check_access
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS, TopicError
from streams.log_events import log_event
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.policies.topic import PolicyTopic, Published, PublishedReader, follow
from streams.settings.worker import Settings
from streams.state.inspect import format_of
from streams.state.private_files import make_private_folder
from streams.state.server_row import STATE_FORMAT
from streams.state.stores import MemoryBudget, RocksDBStore
from streams.wire.codec import AvroCodec
from streams.wire.fast_connection import fast_header
from streams.wire.records import parse_moment
from streams.wire.registry import RegistryError, registry_of
from streams.worker.processor import InputProcessor, wall_clock
from streams.worker.repository import RecordChannels
from streams.worker.telemetry import Observation

log = logging.getLogger(__name__)

COLLECTED_OBJECTS = 50_000
"""New objects that may be part of cycles, such as tasks and errors with their frames, before these are looked for."""


def configured_policies(settings: Settings) -> list[Policy]:
    """The policies that the settings name.

    Raises:
        ValueError: one is malformed.
    """
    return [read_policy(name) for name in settings.policies]


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


def policy_topic_of(settings: Settings) -> PolicyTopic:
    """Where policies and catalogues are published."""
    registry = registry_of(settings)
    return PolicyTopic(
        cluster=cluster_of(settings),
        policies_topic=settings.topic(TOPICS["policy"]),
        policies=AvroCodec("policy", registry),
        catalogues_topic=settings.topic(TOPICS["catalogue"]),
        catalogues=AvroCodec("catalogue", registry),
        audit_topic=settings.topic(TOPICS["audit_record"]),
        audit=AvroCodec("audit_record", registry),
        catalogue=shipped_catalogue(),
    )


class PoliciesInForce:
    """The rulebook in force; a set of policies that cannot stand together is refused, and the one in force stays."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._logged: tuple[str, int, str] | None = None
        self._told_catalogue = 0
        self.rulebook = rulebook_of(settings)

    def update(self, published: Published) -> None:
        """Take over what is published by now."""
        try:
            self.rulebook = rulebook_of(self._settings, published.policies, published.catalogues)
        except ValueError as error:
            log.error("the published policies are refused: %s", error, extra=log_event("policy_refused"))
        else:
            known = self.rulebook.fingerprint
            about = log_event("policies_loaded", policies=known)
            log.info("policies and catalogues in force or to come: %s", known, extra=about)

    def governing(self) -> tuple[str, int, str]:
        """Id, version and mode of the policy that governs now."""
        policy = self.rulebook.policy_at(wall_clock())
        return policy.policy_id, policy.version, policy.mode.value

    def catalogue_version(self) -> int:
        """The version of the catalogue in force now, 0 for the built-in one."""
        return self.rulebook.catalogue_version_at(wall_clock())

    def log_policy_switch(self) -> None:
        """Log when another policy or catalogue is in force than before."""
        governing, catalogue = self.governing(), self.catalogue_version()
        if governing != self._logged:
            self._logged = governing
            names = ("policy_id", "policy_version", "mode")
            about = log_event("policy_switched", **dict(zip(names, governing, strict=True)))
            log.info("from now on governs %s version %d (%s)", *governing, extra=about)
        if catalogue != self._told_catalogue:
            self._told_catalogue = catalogue
            about = log_event("catalogue_switched", catalogue_version=catalogue)
            log.info("from now on builds are judged by catalogue %d", catalogue, extra=about)


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


def failpoints(crash_at: str) -> Callable[[str], None]:
    """A hook that kills this process when a named point is reached for the n-th time; does nothing without a name."""
    name, _, count = crash_at.partition(":")
    left = int(count or 1)

    def failpoint(point: str) -> None:
        nonlocal left
        if point == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return failpoint


def replay_end(settings: Settings) -> int | None:
    """The moment that takes the place of the wall clock (UTC milliseconds); None for a live service."""
    return parse_moment("TES_REPLAY_UNTIL", settings.replay_until) if settings.replay_until else None


def build_app(
    settings: Settings, rules: PoliciesInForce, reader: PublishedReader, observation: Observation
) -> BatchApp:
    """The Faust app: one agent on the connections topic that hands whole batches to their partition's writer."""
    wires, header = record_channels(settings), fast_header(registry_of(settings))
    until = replay_end(settings)
    source = settings.topic(TOPICS["inbound_connection"])
    budget = MemoryBudget(settings.state_cache_bytes)
    cluster = cluster_of(settings)
    config: dict[str, Any] = {"consumer_group_instance_id": settings.instance_id} if settings.instance_id else {}
    app = BatchApp(
        settings.app_id,
        source=source,
        partition_config=PartitionConfig(
            cluster=cluster,
            app_id=settings.app_id,
            group=settings.app_id,
            source=source,
            changelog=settings.changelog,
            merged=settings.topic(TOPICS["admin_command"]),
            gather_seconds=settings.gather_seconds,
            tick_seconds=settings.tick_seconds,
            # A rebalance waits for it, and a member that is silent for a session loses its partitions.
            drain_seconds=settings.session_timeout_seconds / 2,
            accepts_gaps=settings.accept_gaps,
            state_format=STATE_FORMAT,
            format_of=format_of,
        ),
        open_store=lambda partition: RocksDBStore(settings.state_path / f"{source}-{partition}", budget),
        processor=lambda partition, partitions: InputProcessor(
            lambda: rules.rulebook,
            wires,
            header,
            until,
            cached_servers=settings.cached_servers_of_partition,
            timers_counted=observation.timers_counted(partition),
            tracer=observation.tracer,
            placement=Placement(partition, partitions),
        ),
        failpoint=failpoints(settings.crash_at),
        broker_credentials=credentials_of(cluster),
        observer=observation.observer,
        broker=[f"kafka://{host}" for host in settings.bootstrap.split(",")],
        datadir=str(settings.state_path / "faust"),
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.replication,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_buffer_maxsize=16,
        broker_max_poll_records=settings.batch_records,
        broker_session_timeout=settings.session_timeout_seconds,
        broker_heartbeat_interval=min(2.0, settings.session_timeout_seconds / 4),
        web_enabled=False,  # the worker has its own, which answers before and after Faust runs
        **config,
    )
    topic = app.topic(source, schema=BatchSchema())

    @app.agent(topic, name="connections")
    async def connections(stream: Any) -> None:
        async for batch in stream.noack().events():
            app.enqueue(batch)
            await stream.ack(batch)

    @app.task  # type: ignore[untyped-decorator]
    async def watchdog() -> None:
        await run_watchdog(app, settings.stall_seconds, observation.pulse.beat)

    @app.task  # type: ignore[untyped-decorator]
    async def policies() -> None:
        try:
            await follow(reader, rules.update)
        except Exception as error:
            app.fail(error)

    @app.timer(1.0)  # type: ignore[untyped-decorator]
    async def switches() -> None:
        rules.log_policy_switch()

    if until is not None:

        @app.timer(0.2)  # type: ignore[untyped-decorator]
        async def end_of_replay() -> None:
            writers = app.writers.values()
            if writers and all(writer.ticked_to is not None for writer in writers):
                os.kill(os.getpid(), signal.SIGTERM)

    observation.metrics.status = app.status
    observation.metrics.policy = rules.governing
    observation.metrics.catalogue = rules.catalogue_version
    observation.metrics.rocksdb_bytes = budget.memory_bytes
    return app


def tune_gc() -> None:
    """Look for garbage in cycles seldom, and never among what the start made.

    Records and rows are freed by their counts of references; walking over those that wait in queues and caches again
    and again took a fifth of a worker's time, and found next to nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_OBJECTS, 20, 20)


def run_worker(settings: Settings) -> int:
    """Run until SIGTERM, the end of a replay, or a failure; the exit code is 0 or `EXIT_FAILED`."""
    observation = Observation(settings)
    observation.configure_logs()
    about = log_event(
        "worker_started", version=observation.version, app_id=settings.app_id, instance=settings.instance_id
    )
    log.info("worker %s of %s begins", observation.version, settings.app_id, extra=about)
    exit_code = _run(settings, observation)
    # Its loop, which handled signals, is closed: being told to end once more would take the exit code away.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    observation.close()
    log.info("the worker ends with exit code %d", exit_code, extra=log_event("worker_ended", exit_code=exit_code))
    return exit_code


def _run(settings: Settings, observation: Observation) -> int:
    uvloop.install()
    make_private_folder(settings.state_path)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    rules = PoliciesInForce(settings)
    reader = PublishedReader(policy_topic_of(settings), configured_policies(settings))
    try:
        loop.run_until_complete(observation.start())
        loop.run_until_complete(check_access(settings))
        # Before the first event, every policy and catalogue that may decide about it.
        loop.run_until_complete(reader.start())
        rules.update(reader.published)
        app = build_app(settings, rules, reader, observation)
    except (KafkaError, TopicError, RegistryError, OSError) as error:
        reason = type(error).__name__
        about = log_event("worker_not_started", reason=reason)
        log.critical("the worker does not start: %s: %s", reason, error, extra=about)
        return EXIT_FAILED
    tune_gc()
    worker = BatchWorker(app, quiet=True, override_logging=False, redirect_stdouts=False, loop=loop)
    worker.spinner = None  # it draws on stdout
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        if app.failure is None:
            return int(end.code or 0)
    except (Exception, asyncio.CancelledError):
        # A worker that fails is taken down amid its tasks: their cancellation may come up here.
        if app.failure is None:
            log.critical("the worker could not run", exc_info=True, extra=log_event("worker_failed", reason="unknown"))
        return EXIT_FAILED
    return 0 if app.failure is None else EXIT_FAILED
