"""The sender of `tes notify` in a process of its own, pinned to one core, without Kafka: it only empties the ledger."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys

import uvloop

from streams.clock import wall_clock_ms
from streams.database.database import ALL_TENANTS, Database
from streams.garbage import tune_gc
from streams.notices.facts import link_key
from streams.notices.opening import open_ledger
from streams.notify.channels_in_use import ChannelsInUse
from streams.notify.lanes import Lanes
from streams.notify.sending import Sender
from streams.notify.status import Status
from streams.settings.notify import NotifySettings, read_notify_settings

END_SECONDS = 20.0


def _key(database: Database) -> bytes:
    with database.reading(ALL_TENANTS) as connection:
        return link_key(connection)


async def send(settings: NotifySettings, group_above: int) -> None:
    """Say that it is ready, wait for a line, and send until SIGTERM."""
    database, loop, stopping = open_ledger(settings), asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    async with ChannelsInUse(settings).opened(_key(database)) as channels:
        chance = random.SystemRandom().random
        lanes = Lanes(database, "bench", group_above, wall_clock_ms, chance, lambda _: None)
        in_flight = settings.in_flight
        sender = Sender(lanes, channels, Status(), in_flight=in_flight, clock=wall_clock_ms, failpoint=lambda _: None)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        sending = asyncio.create_task(sender.run())
        ending = asyncio.create_task(stopping.wait())
        await asyncio.wait({sending, ending}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            await sending
        await sender.end(END_SECONDS)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    database.close()


def main(core: int, group_above: int) -> None:
    """Send on one core; the settings are those of the environment."""
    os.sched_setaffinity(0, {core})
    settings = read_notify_settings()
    tune_gc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(send(settings, group_above))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
