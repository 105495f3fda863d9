"""Whatever a client says its host is: answered like others, and refused as a problem where it matters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http.client import parse_headers
from io import BytesIO
from typing import Any

import pytest

from streams.report.web.headers import SECURITY_HEADERS
from tests.support.oidc_provider import OidcProvider
from tests.support.report_access import Site, served_with_provider

NOT_HOSTS = [b"a b", "é".encode(), b"\xff", b"a/b@c?d#e"]
HOSTS = [b"x:99999", b"127.0.0.1:99999", b"[", b"]", b"[::1", b"x:y", b""]
"""None of them can be, but nothing in their form says so."""
PUBLIC = "https://report.example"


async def ask(site: Site, method: str, path: str, host: bytes, **headers: str) -> tuple[int, Any]:
    """Status and headers of what is answered to a request with any bytes for a host."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(site.url.rsplit(":", 1)[1]))
    lines = [f"{method} {path} HTTP/1.1".encode(), b"Host: " + host, b"Connection: close", b"Content-Length: 0"]
    lines += [f"{name.replace('_', '-')}: {value}".encode() for name, value in headers.items()]
    writer.write(b"\r\n".join([*lines, b"", b""]))
    answer = BytesIO(await reader.read())
    writer.close()
    return int(answer.readline().split()[1]), parse_headers(answer)


def run(check: Callable[[Site, OidcProvider], Awaitable[None]], **settings: Any) -> None:
    async def served() -> None:
        async with served_with_provider(**settings) as (site, provider):
            await check(site, provider)

    asyncio.run(served())


def assert_like_others(headers: Any, *, is_problem: bool = True) -> None:
    assert headers["x-request-id"] == "my-id.7"
    for name in SECURITY_HEADERS:
        assert headers[name], name
    if is_problem:
        assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("host", HOSTS)
def test_behind_a_proxy_no_host_matters(host: bytes) -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        sent = {"X_Request_Id": "my-id.7"}
        status, headers = await ask(site, "GET", "/v1/me", host, **sent)
        assert status == 401
        assert_like_others(headers)
        status, headers = await ask(site, "GET", "/", host, **sent)
        assert status == 401
        assert_like_others(headers)
        status, headers = await ask(site, "GET", "/servers/a?b=c", host, Accept="text/html", **sent)
        assert (status, headers["location"]) == (303, "/sign-in?next=/servers/a%3Fb%3Dc")
        assert_like_others(headers, is_problem=False)
        status, headers = await ask(site, "GET", "/servers/ip:%C3%A9%2525?b=c", host, Accept="text/html", **sent)
        assert headers["location"] == "/sign-in?next=/servers/ip%3A%25C3%25A9%252525%3Fb%3Dc"
        status, headers = await ask(site, "POST", "/sign-out", host, Origin="https://evil.example", **sent)
        assert status == 403
        assert_like_others(headers)
        status, headers = await ask(site, "GET", "/none", host, **sent)
        assert status == 404
        assert_like_others(headers)
        authorized = {"Authorization": f"Bearer {provider.token()}"}
        assert (await ask(site, "GET", "/v1/me", host, **sent, **authorized))[0] == 200
        status, headers = await ask(site, "POST", "/v1/change", host, **sent, **authorized)  # without its body
        assert status == 500
        assert_like_others(headers)

    run(check, public_url=PUBLIC)


@pytest.mark.parametrize("host", HOSTS)
def test_on_this_machine_a_host_that_is_not_it_is_refused(host: bytes) -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        expected = 401 if host.startswith(b"127.0.0.1:") else 421
        for path in ("/v1/me", "/"):
            status, headers = await ask(site, "GET", path, host, X_Request_Id="my-id.7")
            assert status == expected, path
            assert_like_others(headers)
        authorized = {"Authorization": f"Bearer {provider.token()}"}
        assert (await ask(site, "GET", "/v1/me", host, **authorized))[0] == 200

    run(check)


@pytest.mark.parametrize("public_url", ["", PUBLIC])
@pytest.mark.parametrize("host", NOT_HOSTS)
def test_what_has_not_the_form_of_a_host_is_refused_as_a_problem(host: bytes, public_url: str) -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        for path in ("/v1/me", "/", "/sign-in", "/none"):
            status, headers = await ask(site, "GET", path, host, X_Request_Id="my-id.7", Accept="text/html")
            assert status == 400, path
            assert_like_others(headers)

    run(check, public_url=public_url)
