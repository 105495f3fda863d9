"""`tes report` beside a real worker: somebody signs in, reads the page, and pauses."""

from __future__ import annotations

import asyncio
import re
import signal
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from streams.domain.time import DAY_MS
from streams.kafka.provisioning import create_topics
from streams.operations.feeds import produce_feed, start_worker
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings
from tests.support.live import line, now_ms, until_found
from tests.support.ports import free_port
from tests.support.report_site import port_of, report_process, variables_of
from tests.support.signed_in import signed_in, text_of

TENANT, SERVER = "tenant-1", "mx1.example.com"
SECONDS = 60.0


async def until_shown(browser: aiohttp.ClientSession, path: str, *words: str) -> str:
    async with asyncio.timeout(SECONDS):
        while True:
            said = await text_of(browser, path)
            if all(word in said for word in words):
                return said
            await asyncio.sleep(0.1)


@pytest.mark.timeout(240)
def test_what_an_administrator_asks_on_the_page_is_done_by_the_engine(
    settings: Settings, report_settings: ReportSettings, tmp_path: Path
) -> None:
    settings = replace(settings, tick_seconds=0.2)
    port = free_port()
    variables = variables_of(settings, report_settings, TES_REPORT_LOCAL_SIGN_IN="demo", TES_REPORT_API_PORT=str(port))

    async def scenario() -> None:
        await create_topics(settings)
        begun = now_ms() - 35 * DAY_MS
        await produce_feed(settings, [line(1, begun), line(1, now_ms() - DAY_MS), line(2, begun)])
        worker = await start_worker(settings, None)
        try:
            await until_found(settings, lambda found: any(row["action"] == "THROTTLE" for row in found.verdicts))
            process = report_process(tmp_path, variables)
            await asyncio.to_thread(process.until_ready, port_of(variables))
            async with signed_in(port, "tenant-admin", TENANT) as browser:
                said = await until_shown(browser, "/", SERVER, "delayed")
                assert "mx2.example.com" not in said
                said = await text_of(browser, f"/servers/{SERVER}")
                assert "15.1.2507.39" in said
                form = await text_of(browser, "/pauses/new")
                hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
                asked = hidden | {"days": "5", "reason": "Update on Sunday"}
                for forged in ({}, {"csrf_token": "0" * 32}):
                    stolen = {name: value for name, value in asked.items() if name != "csrf_token"} | forged
                    async with browser.post("/pauses", data=stolen) as answer:
                        assert answer.status == 403
                async with browser.post("/pauses", data=asked) as answer:
                    assert answer.status == 200, await answer.text()
                    assert "85" in await answer.text()
                await until_shown(browser, "/", "paused")
                async with browser.get("/v1/pauses") as answer:
                    found = await answer.json()
                assert (found["is_paused"], found["quota_left_days"]) == (True, 85)
                assert [one["issued_by"] for one in found["items"]] == ["tenant-admin (local demo)"]
            assert await asyncio.to_thread(process.end) == 0
        finally:
            worker.send_signal(signal.SIGTERM)
            assert await worker.wait() == 0

    asyncio.run(scenario())
