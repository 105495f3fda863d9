"""The web server of a process: probes for a supervisor, metrics for Prometheus.

It runs in the process's own event loop, so a probe that is answered proves that the loop moves. It only ever reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

HEADERS = {"Cache-Control": "no-store"}
LIVE, STARTED, READY, SERVING, METRICS = "/livez", "/startupz", "/readyz", "/servingz", "/metrics"
CLOSE_SECONDS = 0.5
"""How long requests that are being answered may take once it stops."""

Probe = Callable[[], tuple[bool, Mapping[str, Any]]]
"""Whether all is well, and what is shown of it as JSON."""


class Heartbeat:
    """When a loop that watches the process beat last; `limit_seconds` is how long the next beat may take."""

    def __init__(self, limit_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = limit_seconds, clock
        self._last: float | None = None

    def beat(self) -> None:
        """The loop moves."""
        self._last = self._clock()

    @property
    def age_seconds(self) -> float | None:
        """How long ago it beat; None when it never did, since the process still starts."""
        return None if self._last is None else self._clock() - self._last

    @property
    def is_alive(self) -> bool:
        """Whether it moves."""
        age = self.age_seconds
        return age is None or age <= self._limit


@dataclass(frozen=True, slots=True)
class Page:
    """What `/metrics` answers."""

    content: Callable[[], bytes]
    content_type: str


class ProbeServer:
    """Answers each path of `probes` with 200 or 503, and `/metrics` with a page."""

    def __init__(self, probes: Mapping[str, Probe], metrics: Page) -> None:
        self._probes, self._metrics = probes, metrics
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: the address is taken or none of this machine's.
        """
        site = web.Application()
        for path, probe in self._probes.items():
            site.router.add_get(path, _answering(probe))
        site.router.add_get(METRICS, self._page)
        self._runner = web.AppRunner(site, access_log=None, handle_signals=False, shutdown_timeout=CLOSE_SECONDS)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def stop(self) -> None:
        """Answer no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _page(self, _: web.Request) -> web.Response:
        headers = {**HEADERS, "Content-Type": self._metrics.content_type}
        return web.Response(body=self._metrics.content(), headers=headers)


def _answering(probe: Probe) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        is_well, body = probe()
        return web.json_response(body, status=200 if is_well else 503, headers=HEADERS)

    return answer
