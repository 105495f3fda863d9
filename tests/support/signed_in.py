"""A browser of somebody who has signed in to a report of this machine."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

HTML = {"Accept": "text/html"}


@asynccontextmanager
async def signed_in(port: int, role: str, tenant: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A browser of somebody who has signed in by the demo's form."""
    address = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession(address, cookie_jar=aiohttp.CookieJar(unsafe=True), headers=HTML) as browser:
        form = {"csrf_token": token_in(await text_of(browser, "/sign-in")), "role": role, "tenant": tenant}
        async with browser.post("/sign-in", data=form) as answer:
            assert answer.status == 200, await answer.text()
        yield browser


async def text_of(browser: aiohttp.ClientSession, path: str) -> str:
    """A page."""
    async with browser.get(path) as answer:
        said = await answer.text()
        assert answer.status == 200, said
        return said


def token_in(html: str, name: str = "csrf_token") -> str:
    """What a field of a page's form holds."""
    found = re.search(rf'name="{name}" value="([^"]+)"', html)
    assert found is not None, html
    return found[1]
