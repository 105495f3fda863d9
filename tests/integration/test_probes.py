"""What a real worker tells of itself over HTTP, from its start to its end."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from streams.domain.time import iso
from streams.kafka.provisioning import create_topics
from streams.operations.feeds import produce_commands, produce_feed
from streams.settings.worker import Settings
from streams.wire.records import command_record
from tests.support.waiting import until_true
from tests.support.worker_site import a_worker, is_well, live_feed


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 90))


@pytest.mark.timeout(120)
def test_a_worker_is_ready_when_its_partitions_are_restored_and_not_any_more_once_it_is_told_to_end(
    settings: Settings,
) -> None:
    async def scenario() -> None:
        await create_topics(settings)
        async with a_worker(settings) as site:
            # The server is there before the group is joined, and says what is missing.
            body = await site.until("/readyz", lambda status, _: status != 0)
            assert body["ready"] or body["why"]
            await site.until("/startupz", is_well)
            body = await site.until("/readyz", is_well)
            assert body["why"] is None
            assert {number: item["phase"] for number, item in body["partitions"].items()} == dict.fromkeys(
                "012", "working"
            )
            alive = await site.until("/livez", lambda _, body: body["watchdog_seconds_ago"] is not None)
            assert alive["alive"]
            site.process.send_signal(signal.SIGTERM)
            seen = []
            while site.process.returncode is None:
                seen.append(await site.get("/readyz"))
                await asyncio.sleep(0)
            answered = [answer for answer in seen if answer[0]]
            assert (503, "draining") in [(status, body["why"]) for status, body in answered]
            assert (await site.get("/livez"))[0] == 0
            assert site.process.returncode == 0

    run(scenario)


@pytest.mark.timeout(120)
def test_a_member_without_partitions_is_ready(settings: Settings) -> None:
    single = replace(settings, partitions=1)

    async def scenario() -> None:
        await create_topics(single)
        async with a_worker(single) as one, a_worker(single, state_dir=f"{single.state_dir}-2") as other:
            bodies = [await one.until("/readyz", is_well), await other.until("/readyz", is_well)]

            async def are_dealt_out() -> bool:
                answers = [await site.get("/readyz") for site in (one, other)]
                bodies[:] = [body for _, body in answers]
                return all(status == 200 for status, _ in answers) and sum(len(b["partitions"]) for b in bodies) == 1

            await until_true(are_dealt_out)
            assert sorted(len(body["partitions"]) for body in bodies) == [0, 1]

    run(scenario)


@pytest.mark.timeout(120)
def test_metrics_tell_what_was_done(settings: Settings) -> None:
    lines = live_feed(300)

    async def scenario() -> None:
        await create_topics(settings)
        await produce_feed(settings, lines)
        await produce_feed(settings, [b"\x00"])
        now = iso(time.time_ns() // 1_000_000)
        command = {"command_id": "c1", "tenant_id": "tenant-6", "issued_at": now, "issued_by": "a", "days": 3}
        pause = {**command, "kind": "PAUSE_CREATE", "role": "TENANT_ADMIN"}
        assert command_record(json.dumps(pause).encode())
        await produce_commands(settings, [json.dumps(pause).encode()])
        async with a_worker(settings) as site:
            await site.until("/readyz", is_well)
            found: dict[tuple[str, tuple[str, ...]], float] = {}

            def total(name: str) -> float:
                return sum(value for (metric, _), value in found.items() if metric == name)

            async def is_done() -> bool:
                found.clear()
                found.update(await site.samples())
                return total("tes_records_total") == len(lines) + 2 and total("tes_due_timers") > 0

            await until_true(is_done)
            assert total("tes_connections_total") == len(lines)
            assert total("tes_dead_letters_total") == 1
            assert found["tes_commands_total", ("PAUSE_CREATE", "ACCEPTED")] == 1
            assert found["tes_notifications_total", ("PAUSE_STARTED",)] == 1
            # The pause leads to verdicts too, and no connection waits for those.
            assert 0 < total("tes_event_to_verdict_seconds_count") < total("tes_verdicts_total")
            assert found["tes_ready", ()] == 1
            assert found["tes_kafka_reached", ()] in (0, 1)
            assert found["tes_input_partitions", ()] == 3
            assert total("tes_partition_working") == 3
            assert total("tes_input_lag_records") == 0
            assert total("tes_restore_rows_left") == 0
            assert found["tes_policy_info", ("enforce", "microsoft-2026-09", "1")] == 1
            assert found["tes_rocksdb_memory_bytes", ("cache",)] > 0
            assert total("tes_unit_records_sum") == total("tes_records_total")
            for name in ("tes_unit_decide_seconds", "tes_unit_commit_seconds"):
                assert total(f"{name}_count") == total("tes_unit_records_count") > 0
                assert total(f"{name}_sum") > 0
            assert not any("tenant-" in value or "mx" in value for _, labels in found for value in labels)

    run(scenario)
