"""The composition root of the worker: builds its Faust app from the settings, and runs it."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Any

import uvloop
from aiokafka.errors import KafkaError

from streams.engine.faust.app import EXIT_FAILED, BatchApp
from streams.engine.faust.credentials import credentials_of
from streams.engine.faust.process import BatchWorker
from streams.engine.telemetry import PresentState, Telemetry
from streams.failpoints import failpoints
from streams.garbage import tune_gc
from streams.kafka.preflight import check_access
from streams.kafka.security import cluster_of
from streams.kafka.topics import TopicError
from streams.log_events import log_event
from streams.settings.worker import Settings
from streams.state.private_files import make_private_folder
from streams.state.stores import MemoryBudget, RocksDBStore
from streams.wire.registry import RegistryError
from streams.worker.agents import add_agents, add_end_of_replay, add_tasks
from streams.worker.policies import PoliciesInForce
from streams.worker.telemetry import WorkerTelemetry
from streams.worker.wiring import partition_config, processors, replay_end

log = logging.getLogger(__name__)


def build_app(settings: Settings, policies: PoliciesInForce, telemetry: Telemetry) -> BatchApp:
    """The Faust app of a worker; it runs once `BatchWorker` starts it."""
    budget, cluster = MemoryBudget(settings.state_cache_bytes), cluster_of(settings)
    config = partition_config(settings, cluster)
    app = BatchApp(
        settings.app_id,
        partition_config=config,
        open_store=lambda partition: RocksDBStore(settings.state_path / f"{config.source}-{partition}", budget),
        processor=processors(settings, policies.rulebook, telemetry),
        failpoint=failpoints(settings.crash_at),
        telemetry=telemetry,
        broker_credentials=credentials_of(cluster),
        **_faust_settings(settings),
    )
    add_agents(app)
    add_tasks(app, policies, settings.stall_seconds, telemetry)
    if replay_end(settings) is not None:
        add_end_of_replay(app)
    telemetry.worker_built(PresentState(app.status, policies.shown, budget.memory_bytes))
    return app


def _faust_settings(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {
        "broker": [f"kafka://{host}" for host in settings.bootstrap.split(",")],
        "datadir": str(settings.state_path / "faust"),
        "topic_partitions": settings.partitions,
        "topic_replication_factor": settings.replication,
        "topic_disable_leader": True,
        "table_standby_replicas": 0,
        "stream_buffer_maxsize": 16,
        "broker_max_poll_records": settings.batch_records,
        "broker_session_timeout": settings.session_timeout_seconds,
        "broker_heartbeat_interval": min(2.0, settings.session_timeout_seconds / 4),
        "web_enabled": False,  # the worker has its own, which answers before and after Faust runs
    }
    if settings.instance_id:
        found["consumer_group_instance_id"] = settings.instance_id
    return found


def run_worker(settings: Settings, *, is_verbose: bool = True) -> int:
    """Run until SIGTERM, the end of a replay, or a failure; the exit code is 0 or `EXIT_FAILED`.

    Unless `is_verbose` a log for people has only warnings of libraries.
    """
    telemetry = WorkerTelemetry(settings)
    telemetry.configure_logs(is_verbose=is_verbose)
    about = log_event(
        "worker_started", version=telemetry.version, app_id=settings.app_id, instance=settings.instance_id
    )
    log.info("worker %s starting (app_id %s)", telemetry.version, settings.app_id, extra=about)
    exit_code = _start_and_run(settings, telemetry)
    # Its loop, which handled signals, is closed: being told to end once more would take the exit code away.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    telemetry.close()
    log.info("worker exiting with code %d", exit_code, extra=log_event("worker_ended", exit_code=exit_code))
    return exit_code


def _start_and_run(settings: Settings, telemetry: WorkerTelemetry) -> int:
    uvloop.install()
    make_private_folder(settings.state_path)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    policies = PoliciesInForce(settings)
    try:
        loop.run_until_complete(telemetry.start())
        loop.run_until_complete(check_access(settings))
        loop.run_until_complete(policies.load())
        app = build_app(settings, policies, telemetry)
    except (KafkaError, TopicError, RegistryError, OSError) as error:
        reason = type(error).__name__
        about = log_event("worker_not_started", reason=reason)
        log.critical("worker failed to start: %s: %s", reason, error, extra=about)
        return EXIT_FAILED
    tune_gc()
    return _run(app, loop)


def _run(app: BatchApp, loop: asyncio.AbstractEventLoop) -> int:
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
            log.critical("worker failed to run", exc_info=True, extra=log_event("worker_failed", reason="unknown"))
        return EXIT_FAILED
    return 0 if app.failure is None else EXIT_FAILED
