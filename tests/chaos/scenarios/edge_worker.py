"""The edge while workers are down."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.chaos.edge.population import TENANTS, senders, verdict_record
from tests.chaos.edge.service import now_ms
from tests.chaos.edge.trial import edge_of
from tests.chaos.scenario import scenario
from tests.chaos.trial import Trial

STAGE_SECONDS = 10
BLOCK_MAX_AGE_HOURS, TABLE_MAX_AGE_HOURS = 0.003, 0.006
"""About 11 and 22 seconds."""


@scenario(in_short=False)
async def edge_worker_down_for_a_stage(trial: Trial) -> None:
    """All workers are down while stages begin: the edge begins them on time, by the schedules that it has."""
    async with edge_of(trial) as edge:
        await edge.begin()
        for revision in range(1, 1 + trial.size(1, 4)):
            unknown = [sender for sender in senders() if sender.kind == "unknown"]
            begins = now_ms() + STAGE_SECONDS * 1000
            delaying = {"stage": 2, "starts_at": begins, "throttle_minutes_per_hour": 60, "block_minutes_per_hour": 0}
            refusing = {**delaying, "stage": 3, "starts_at": begins + 3000, "block_minutes_per_hour": 60}
            schedule = [delaying, {**refusing, "throttle_minutes_per_hour": 0}]
            await edge.service.write(verdict_record(one, revision, schedule=schedule) for one in unknown)
            await edge.until_confirmed()
            edge.service.silent = set(range(trial.settings.partitions))
            await edge.kill_sync()
            for code in (None, "450", "550"):
                await edge.until_answered(len(TENANTS), code, "unknown")
            await asyncio.sleep(trial.chance.random())
            edge.service.silent = set()
            await edge.start_sync()
        await edge.until_confirmed()
        await edge.finish()


@scenario()
async def edge_worker_dead_while_kafka_lives(trial: Trial) -> None:
    """The worker of one partition is dead: the edge delays what it refused, then accepts all, until it is confirmed."""
    limits: dict[str, Any] = {"block_max_age_hours": BLOCK_MAX_AGE_HOURS, "table_max_age_hours": TABLE_MAX_AGE_HOURS}
    async with edge_of(trial, **limits) as edge:
        await edge.begin()
        for _ in range(trial.size(1, 6)):
            await edge.until_enforced()
            edge.service.silent = {trial.chance.randrange(trial.settings.partitions)}
            await edge.until_answered(1, "450", "blocked")
            await edge.until_answered(1, None, "blocked")
            await edge.until_answered(1, None, "throttled")
            edge.service.silent = set()
            await edge.until_confirmed()
        await edge.until_enforced()
        await edge.finish()
