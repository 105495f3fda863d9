"""The worker's web server: probes for a supervisor, metrics for Prometheus.

It runs in the worker's own event loop, so a probe that is answered proves that the loop moves. It is up before Kafka is
asked for anything, and until the process ends. It only ever reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from streams.engine.status import WorkerStatus

HEADERS = {"Cache-Control": "no-store"}


class Heartbeat:
    """When the watchdog looked last; `limit_seconds` is how long it may take until it looks again."""

    def __init__(self, limit_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit_seconds, clock
        self._last: float | None = None

    def beat(self) -> None:
        """The watchdog looks."""
        self._last = self._clock()

    @property
    def age_seconds(self) -> float | None:
        """How long ago it looked; None when it never did, since the worker still starts."""
        return None if self._last is None else self._clock() - self._last

    @property
    def is_alive(self) -> bool:
        """Whether it moves."""
        age = self.age_seconds
        return age is None or age <= self._limit


class WorkerSite:
    """`/livez`, `/startupz`, `/readyz`, `/metrics`.

    * `/livez`: the event loop and the watchdog move. What happens to the broker has no part in it: a restart would not
      bring it back.
    * `/startupz`: the policies are read, and the group has told which partitions are this worker's.
    * `/readyz`: every partition that is this worker's is restored and worked on.
    """

    def __init__(
        self, status: Callable[[], WorkerStatus], pulse: Heartbeat, metrics: Callable[[], bytes], kind: str
    ) -> None:
        """Show what `status` says; `metrics` gives the page of that content type `kind`."""
        self._status, self._pulse = status, pulse
        self._metrics, self._kind = metrics, kind
        self._runner: web.AppRunner | None = None

    def livez(self) -> tuple[bool, dict[str, Any]]:
        """Whether the process should be left running."""
        age = self._pulse.age_seconds
        return self._pulse.is_alive, {
            "alive": self._pulse.is_alive,
            "watchdog_seconds_ago": None if age is None else round(age, 1),
        }

    def startupz(self) -> tuple[bool, dict[str, Any]]:
        """Whether the start is over; a restore is part of the work."""
        has_joined = self._status().has_joined
        return has_joined, {"started": has_joined, "why": None if has_joined else "has not joined the group"}

    def readyz(self) -> tuple[bool, dict[str, Any]]:
        """Whether it works, and on what."""
        status = self._status()
        why = status.not_ready_because
        return why is None, {
            "ready": why is None,
            "why": why,
            "partitions": {
                str(item.partition): {
                    "phase": item.phase.value,
                    "restored_rows": item.rows_restored,
                    "rows_left": item.rows_to_restore,
                }
                for item in status.partitions
            },
        }

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the address is taken or none of this machine's.
        """
        site = web.Application()
        for path, probe in (("/livez", self.livez), ("/startupz", self.startupz), ("/readyz", self.readyz)):
            site.router.add_get(path, _answering(probe))
        site.router.add_get("/metrics", self._page)
        self._runner = web.AppRunner(site, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            why = f"TES_WEB_PORT: {port}: TES_WEB_HOST {host}: {error.strerror or error}"
            raise OSError(error.errno, why) from None

    async def stop(self) -> None:
        """Answer no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={**HEADERS, "Content-Type": self._kind})


def _answering(probe: Callable[[], tuple[bool, dict[str, Any]]]) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        is_well, body = probe()
        return web.json_response(body, status=200 if is_well else 503, headers=HEADERS)

    return answer
