"""The page on real sockets, an address for each caller, served by the report's own server in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from playwright.sync_api import Page

from streams.report.access.callers import Caller
from streams.report.web.server import WebServer
from tests.support.page_world import Engine, application_for

Open = Callable[..., Page]
"""Opens a page in a browser; see `open_page` of the browser's tests."""
START_SECONDS = 60


@contextmanager
def serving(engine: Engine, *callers: Caller) -> Iterator[Mapping[Caller, str]]:
    """Serve the page as some callers see it; the addresses by caller."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="page-site", daemon=True)
    thread.start()
    servers = {caller: WebServer(application_for(engine, caller)) for caller in callers}
    try:
        for server in servers.values():
            asyncio.run_coroutine_threadsafe(server.start("127.0.0.1", 0), loop).result(START_SECONDS)
        yield {caller: f"http://127.0.0.1:{server.port}" for caller, server in servers.items()}
    finally:
        for server in servers.values():
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(START_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
