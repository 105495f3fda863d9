"""What the report's page weighs and when it shows: in chromium, on a line as slow as slow 4G, nothing cached."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from playwright.async_api import Browser, async_playwright

from benchmarks.environment import CACHE_DIR, MissingToolError
from benchmarks.read_model import LARGE, caught_up, reports
from benchmarks.report_pages import TENANT, serving
from streams.domain.time import HOUR_MS
from streams.report.store.opening import open_database
from streams.report.store.upkeep import analyze
from streams.settings.report import ReportSettings
from tests.support.report import START

CHROMIUM: Final = Path("/usr/bin/chromium")
SERVERS: Final = 2_000
ROUNDS: Final = 5
LINE: Final = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1_600_000 / 8,
    "uploadThroughput": 750_000 / 8,
}
"""Slow 4G as browsers' tools have it: 1.6 Mbit/s down, 750 kbit/s up (bytes a second here), 150 ms for a round trip."""
_TIMES: Final = """() => ({
  paint: performance.getEntriesByName('first-contentful-paint')[0].startTime,
  load: performance.getEntriesByType('navigation')[0].loadEventEnd,
})"""


def check_tools() -> None:
    """Refuse to begin without a browser.

    Raises:
        MissingToolError: there is no chromium.
    """
    if not CHROMIUM.exists():
        raise MissingToolError("chromium is missing: scripts/browser_packages")


async def _visit(browser: Browser, address: str) -> dict[str, float]:
    """One visit of somebody who was never here."""
    context = await browser.new_context(extra_http_headers={TENANT: LARGE}, viewport={"width": 1280, "height": 800})
    try:
        page = await context.new_page()
        client, sizes = await context.new_cdp_session(page), list[float]()
        await client.send("Network.enable")
        await client.send("Network.emulateNetworkConditions", LINE)
        client.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        await page.goto(address, wait_until="load")
        await page.wait_for_function("performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
        times = await page.evaluate(_TIMES)
        rows = await page.locator("table.servers tbody tr").count()
    finally:
        await context.close()
    return {"rows": rows, "bytes": sum(sizes), "requests": len(sizes), **times}


async def _visits(settings: ReportSettings) -> list[dict[str, float]]:
    async with serving(settings) as (address, _), async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        try:
            return [await _visit(browser, address) for _ in range(ROUNDS)]
        finally:
            await browser.close()


@contextmanager
def _filled(count: int) -> Iterator[ReportSettings]:
    folder = CACHE_DIR / "slow-page"
    shutil.rmtree(folder, ignore_errors=True)
    settings = ReportSettings(directory=str(folder))
    database = open_database(settings)
    database.migrate()
    caught_up(database, reports(count, 0, START + HOUR_MS))
    analyze(database)
    database.close()
    yield settings
    shutil.rmtree(folder, ignore_errors=True)


def measure(count: int = SERVERS) -> dict[str, Any]:
    """Medians over some first visits: bytes on the line, first contentful paint and load in ms.

    Raises:
        MissingToolError: there is no chromium.
    """
    check_tools()
    with _filled(count) as settings:
        visits = asyncio.run(_visits(settings))
    return {
        "rows": round(visits[0]["rows"]),
        "requests": round(median(visit["requests"] for visit in visits)),
        "bytes": round(median(visit["bytes"] for visit in visits)),
        "first_contentful_paint_ms": round(median(visit["paint"] for visit in visits)),
        "load_ms": round(median(visit["load"] for visit in visits)),
    }


def lines_of(found: dict[str, Any]) -> list[str]:
    """What the report of the benchmark says of it."""
    return [
        f"The report on slow 4G (1.6 Mbit/s, 150 ms) in chromium, {found['rows']} rows, nothing cached: "
        f"{found['bytes'] / 1000:,.0f} kB in {found['requests']} requests, first contentful paint "
        f"{found['first_contentful_paint_ms']:,} ms, load {found['load_ms']:,} ms.",
        "",
    ]
