"""The report's application with everything of its access, on uvicorn, for tests; its clock is moved by hand."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from litestar import MediaType, Request, get, post
from yarl import URL

from streams.report.access.site import OPEN
from streams.report.access.wiring import Access, access_of
from streams.report.web.application import make_application
from streams.report.web.server import WebServer
from streams.settings.report import ReportSettings
from streams.testing import ManualClock
from tests.support.oidc_provider import AUDIENCE, CLIENT_ID, SECRET, OidcProvider

START_SECONDS = 1_900_000_000
AnyRequest = Request[Any, Any, Any]


class Clock(ManualClock):
    """Seconds when it is called; `ms` is the same in milliseconds."""

    def __init__(self) -> None:
        super().__init__(START_SECONDS)

    def ms(self) -> int:
        return int(self.seconds * 1000)


@get(["/", "/servers/{name:str}"], media_type=MediaType.HTML, sync_to_thread=False)
def page(request: AnyRequest) -> str:
    return f"page of {request.user.name} {request.auth.csrf_token if request.auth else ''}"


@get("/v1/me", sync_to_thread=False)
def me(request: AnyRequest) -> dict[str, Any]:
    caller = request.user
    return {"subject": caller.subject, "name": caller.name, "role": caller.role, "tenant": caller.tenant}


@post("/change", status_code=200)
async def change(request: AnyRequest) -> dict[str, str]:
    return {"reason": str((await request.form()).get("reason"))}


@post("/v1/change", status_code=200)
async def change_by_api(request: AnyRequest) -> dict[str, str]:
    return dict(await request.json())


@get("/open", opt=OPEN, sync_to_thread=False)
def open_page() -> str:
    return "open"


class Site:
    """A running application: where it is, its clock, and the browser of one person."""

    def __init__(self, url: str, clock: Clock, access: Access, browser: aiohttp.ClientSession) -> None:
        self.url, self.clock, self.access, self.browser = url, clock, access, browser

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.send("GET", path, headers)

    async def send(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        """What is answered; redirects are not followed."""
        address = path if path.startswith("http") else self.url + path
        given = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        async with self.browser.request(method, address, headers=given, allow_redirects=False, **more) as response:
            return Answer(response, await response.text())

    async def call(self, token: str, path: str = "/v1/me") -> Answer:
        """Call with a bearer token."""
        return await self.get(path, Authorization=f"Bearer {token}")

    async def sign_in(self, path: str = "/") -> Answer:
        """Sign in at the provider; returns the answer to its callback."""
        began = (
            await self.get("/sign-in", Accept="text/html") if path == "/" else await self.get(f"/sign-in?next={path}")
        )
        agreed = await self.get(began.location)
        assert agreed.status == 302, agreed.text
        return await self.get(agreed.location)

    async def csrf_token(self) -> str:
        """What a page of the session shows."""
        return (await self.get("/")).text.rsplit(" ", 1)[1]

    def cookies(self) -> dict[str, str]:
        """What the browser keeps."""
        return {cookie.key: cookie.value for cookie in self.browser.cookie_jar}

    def keep(self, name: str, value: str) -> None:
        """Have the browser keep another cookie."""
        self.browser.cookie_jar.update_cookies({name: value}, response_url=self._address())

    def forget(self) -> None:
        """Have the browser keep none."""
        self.browser.cookie_jar.clear()

    def _address(self) -> URL:
        return URL(self.url)


class Answer:
    """What was answered."""

    def __init__(self, response: aiohttp.ClientResponse, text: str) -> None:
        self.status, self.headers, self.text = response.status, response.headers, text
        self.location = response.headers.get("Location", "")
        self.set_cookies = response.headers.getall("Set-Cookie", [])

    def json(self) -> Any:
        return json.loads(self.text)


@asynccontextmanager
async def serving(settings: ReportSettings, clock: Clock) -> AsyncIterator[Site]:
    """Serve with these settings."""
    access = access_of(settings, clock.ms, clock)
    assert access is not None
    handlers: list[Any] = [page, me, change, change_by_api, open_page, *access.routers]
    server = WebServer(make_application(handlers, access.identify, {}))
    await access.start()
    await server.start("127.0.0.1", 0)
    jar = aiohttp.CookieJar(unsafe=True)
    try:
        async with aiohttp.ClientSession(cookie_jar=jar) as browser:
            yield Site(f"http://127.0.0.1:{server.port}", clock, access, browser)
    finally:
        await server.stop()
        await access.close()


@asynccontextmanager
async def served_with_provider(**settings: Any) -> AsyncIterator[tuple[Site, OidcProvider]]:
    """Serve beside a provider that knows the report."""
    clock = Clock()
    async with OidcProvider(clock.ms) as provider:
        given = {
            "oidc_issuer": provider.issuer,
            "oidc_client_id": CLIENT_ID,
            "oidc_client_secret": SECRET,
            "oidc_audience": AUDIENCE,
            "oidc_algorithms": ("RS256", "ES256", "PS256", "EdDSA"),
            **settings,
        }
        async with serving(ReportSettings(**given), clock) as site:
            provider.redirect_uri = f"{settings.get('public_url', site.url)}/sign-in/callback"
            yield site, provider
