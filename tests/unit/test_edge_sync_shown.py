"""What sync shows of itself, and that it needs no Kafka to start and to end in order."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.edge.sync_metrics import SyncMetrics, not_ready_because
from tests.support.edge_process import edge_site
from tests.support.ports import free_port
from tests.support.sync_status import NOW, WORKING


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, None),
        ({"failures": {"events": "no broker"}}, "events: no broker"),
        ({"is_loading": True}, "verdicts are being read"),
        ({"complete_at": None}, "verdicts are being read"),
        ({"signs": {0: NOW}}, "no worker of these input partitions has given a sign of life: 1"),
        ({"confirmed_at": None}, "the worker of an input partition is silent, or verdicts are behind"),
        ({"confirmed_at": NOW - 200_000}, "the worker of an input partition is silent, or verdicts are behind"),
    ],
)
def test_readyz_says_what_is_missing(changed: dict[str, Any], why: str | None) -> None:
    assert not_ready_because(WORKING._replace(**changed), NOW) == why


def test_the_status_is_on_the_page() -> None:
    page = SyncMetrics("1", lambda: WORKING, lambda: NOW).page().decode()
    found = {sample.name: sample.value for family in text_string_to_metric_families(page) for sample in family.samples}
    assert found["tes_edge_ready"] == 1
    assert found["tes_edge_knowledge_age_seconds"] == 2
    assert found["tes_edge_events_delivered_total"] == 20
    assert (found["tes_edge_spool_events"], found["tes_edge_spool_bytes"]) == (7, 900)
    assert found["tes_edge_worker_sign_age_seconds"] == 2
    assert found["tes_edge_clock_skew_seconds"] == 0.5


@pytest.mark.timeout(180)
def test_sync_starts_and_ends_without_kafka(tmp_path: Path) -> None:
    async def acting() -> None:
        bootstrap = f"127.0.0.1:{free_port()}"
        async with edge_site(tmp_path, "sync", TES_KAFKA_BOOTSTRAP=bootstrap) as site:
            await site.until("/startupz", lambda status, _: status == 200)
            ready = await site.until("/readyz", lambda _, body: bool(body and body["failures"]))
            assert not ready["ready"]
            assert (await site.get("/livez"))[0] == 200
            assert 'tes_edge_failing{part="verdicts"} 1.0' in (await site.get("/metrics"))[1]
            assert await site.end() == 0

    asyncio.run(acting())


@pytest.mark.timeout(180)
def test_sync_refuses_files_of_tls_that_are_none(tmp_path: Path) -> None:
    async def acting() -> None:
        settings = {"TES_KAFKA_SECURITY_PROTOCOL": "SSL", "TES_KAFKA_CA_FILE": "/none.pem"}
        async with edge_site(tmp_path, "sync", **settings) as site:
            assert await site.ended() == 2
            assert "TES_KAFKA_CA_FILE: '/none.pem': must be readable: No such file" in site.log

    asyncio.run(acting())
