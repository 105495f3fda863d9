"""What a worker shows of itself: wires metrics, probes and the engine together."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

from streams.adapters.metrics import CONTENT_TYPE, Metrics
from streams.adapters.state_codec import FORMAT
from streams.adapters.web import Pulse, WorkerSite
from streams.engine.observer import Observer
from streams.settings import Settings

SILENT_STALLS = 3
"""The watchdog looks ten times in `TES_STALL_SECONDS`, and waits as long as that for a broker that does not answer."""


class Observation:
    """The listeners of one worker, and its web server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.metrics = Metrics(version("tes"), FORMAT)
        self.pulse = Pulse(SILENT_STALLS * settings.stall_seconds)
        self._site = WorkerSite(lambda: self.metrics.status(), self.pulse, self.metrics.page, CONTENT_TYPE)

    @property
    def observer(self) -> Observer:
        """What the engine tells."""
        return self.metrics

    def timers_counted(self, partition: int) -> Callable[[int], None]:
        """Takes how many timers wait in a partition."""
        return lambda count: self.metrics.timers_counted(partition, count)

    async def start(self) -> None:
        """Serve probes and metrics, if the settings say so.

        Raises:
            OSError: the port is taken.
        """
        if self._settings.web_port:
            await self._site.start(self._settings.web_host, self._settings.web_port)
