"""What a worker is made of, before it joins anything: no broker is asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

from streams.domain.policy.rulebook import Rulebook
from streams.engine.faust.app import BatchApp
from streams.engine.faust.consumer import BatchConsumer
from streams.engine.status import BEFORE_THE_START
from streams.settings.worker import Settings
from streams.testing import RecordingTelemetry
from streams.worker.app import build_app
from streams.worker.policies import PoliciesInForce


def built(settings: Settings, telemetry: RecordingTelemetry) -> tuple[BatchApp, PoliciesInForce]:
    policies = PoliciesInForce(settings)
    return build_app(settings, policies, telemetry), policies


def test_a_worker_subscribes_to_the_connections_and_fetches_whole_batches(tmp_path: Path) -> None:
    settings = Settings(state_dir=str(tmp_path), batch_records=77, accept_gaps=True)

    async def scenario() -> None:
        app, _ = built(settings, RecordingTelemetry())
        app.finalize()
        (agent,) = app.agents.values()
        assert agent.channel.topics == (app.source,) == ("transport.connections.v1",)
        assert isinstance(app.consumer, BatchConsumer)
        assert app.accepts_gaps
        assert not app.has_capacity(0)
        assert app.next_offset(0) is None

    asyncio.run(scenario())


def test_a_worker_shows_how_it_stands_and_what_it_decides_by(tmp_path: Path) -> None:
    telemetry = RecordingTelemetry()

    async def scenario() -> None:
        _, policies = built(Settings(state_dir=str(tmp_path)), telemetry)
        assert isinstance(policies.rulebook(), Rulebook)

    asyncio.run(scenario())
    assert telemetry.present is not None
    assert telemetry.present.status() == BEFORE_THE_START
    policy = {"policy_id": "microsoft-2026-09", "policy_version": "1", "mode": "enforce"}
    assert telemetry.present.rules() == {"policy": policy, "catalogue": {"catalogue_version": "0"}}
    assert set(telemetry.present.memory()) == {"cache", "pinned", "write_buffers"}


def test_only_a_replay_ends_by_itself(tmp_path: Path) -> None:
    async def tasks(replay_until: str) -> set[str]:
        app, _ = built(Settings(state_dir=str(tmp_path), replay_until=replay_until), RecordingTelemetry())
        return {task.__name__ for task in app._app_tasks}

    live, replay = (asyncio.run(tasks(until)) for until in ("", "2026-10-01T00:00:00Z"))
    assert live == {"watchdog", "follow_policies", "log_ready", "log_switches"}
    assert replay - live == {"end_of_replay"}
