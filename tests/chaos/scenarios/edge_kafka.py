"""The edge while Kafka is away, hangs, or comes back as another one."""

from __future__ import annotations

import asyncio
import os
import signal

from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from tests.chaos.edge.population import verdict_records
from tests.chaos.edge.trial import PER_SECOND, edge_of
from tests.chaos.scenario import scenario
from tests.chaos.trial import Trial

SMALL_SPOOL_BYTES = 1 << 20


@scenario(owns_broker=True)
async def edge_kafka_away_beyond_the_spool_bound(trial: Trial) -> None:
    """Kafka is away until the edge's spool is beyond its bound: mail goes on, what is given up is counted exactly."""
    async with edge_of(trial, spool_bytes=SMALL_SPOOL_BYTES) as edge:
        await edge.begin()
        await edge.until_answered(200, None)
        # What is given up while sync has it in its hands may be told all the same: let it begin and end with nothing.
        await edge.end_load()
        await edge.until_told()
        await asyncio.to_thread(trial.kafka.kill)
        await edge.load(2 * PER_SECOND)
        await trial.until(edge.has_dropped, "a spool at its bound")
        await asyncio.sleep(trial.size(2, 60))
        await edge.end_load()
        await edge.kill_sync()
        given_up = await edge.given_up()
        edge.dropped = (given_up, given_up)
        await asyncio.to_thread(trial.kafka.restart)
        await edge.start_sync()
        await edge.until_told()
        await edge.until_confirmed()
        await edge.load()
        await edge.until_enforced()
        await edge.finish()


@scenario(owns_broker=True, in_short=False)
async def edge_kafka_hangs(trial: Trial) -> None:
    """SIGSTOP of the broker for longer than any client waits: the edge goes on, and tells all of it behind."""
    async with edge_of(trial) as edge:
        await edge.begin()
        for _ in range(trial.size(1, 3)):
            await edge.until_enforced()
            os.kill(trial.kafka.pid, signal.SIGSTOP)
            await asyncio.sleep(trial.size(40, 90))
            await edge.until_enforced()
            os.kill(trial.kafka.pid, signal.SIGCONT)
            await edge.until_confirmed()
        await edge.finish()


@scenario(in_short=False)
async def edge_verdicts_recreated(trial: Trial) -> None:
    """The topic of verdicts is deleted and created again under the edge: it forgets what is gone, and reads the new."""
    async with edge_of(trial) as edge:
        await edge.begin()
        topic = trial.settings.topic(TOPICS["verdict"])
        for revision in range(2, 2 + trial.size(1, 4)):
            await edge.until_enforced()
            edge.excuse()
            edge.service.forget()
            async with cluster_of(trial.settings).opened_admin() as admin:
                await admin.delete_topics([topic])
            await asyncio.sleep(3 * trial.chance.random())
            await create_topics(trial.settings)
            kept = [record for record in verdict_records(revision) if trial.chance.random() < 0.8]
            await edge.service.write(kept)
            await edge.until_confirmed()
        await edge.until_enforced()
        await edge.finish()
