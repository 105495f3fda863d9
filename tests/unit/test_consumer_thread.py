"""What Faust's own supervision says of a worker that is behind."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from streams.engine.faust.consumer import ConsumerThread

BEHIND = TP("connections", 0)
HOUR = 3_600.0


def thread_of(kind: type[AIOKafkaConsumerThread], monkeypatch: pytest.MonkeyPatch) -> AIOKafkaConsumerThread:
    """One that takes records, as the partition is read, and has been told of no commit since its start an hour ago."""
    state = SimpleNamespace(highwater=10, position=5, timestamp=HOUR)
    assignment = SimpleNamespace(state_value=lambda _: state)
    subscriptions = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
    thread = kind.__new__(kind)
    given: dict[str, Any] = {
        "consumer": SimpleNamespace(
            app=SimpleNamespace(
                monitor=SimpleNamespace(stream_inbound_time={BEHIND: HOUR}),
                topics=SimpleNamespace(acks_enabled_for=lambda _: True),
                conf=SimpleNamespace(broker_commit_livelock_soft_timeout=300.0),
            )
        ),
        "time_started": 0.0,
        "tp_stream_timeout_secs": 300.0,
        "tp_commit_timeout_secs": 300.0,
        "tp_last_committed_at": {},
        "log": SimpleNamespace(error=logging.getLogger("faust").error),
        "_verify_aiokafka_event_path": lambda *_: False,
        "_ensure_consumer": lambda: SimpleNamespace(_fetcher=SimpleNamespace(_subscriptions=subscriptions)),
    }
    for name, value in given.items():
        monkeypatch.setattr(thread, name, value, raising=False)
    return thread


def test_a_worker_that_is_behind_for_long_is_not_called_broken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    thread_of(AIOKafkaConsumerThread, monkeypatch).verify_event_path(HOUR, BEHIND)
    assert "Has not committed" in caplog.text, "Faust has another way to say it"
    caplog.clear()
    thread_of(ConsumerThread, monkeypatch).verify_event_path(HOUR, BEHIND)
    assert caplog.text == ""
