"""Requests of a browser that has a session: forgery, sign-out, parts of pages, and both ways to say who one is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streams.report.access.failures import FailureLimit
from tests.support.oidc_provider import OidcProvider
from tests.support.report_access import Clock, Site, served_with_provider

Check = Callable[[Site, OidcProvider], Awaitable[None]]


def run(check: Check, **settings: Any) -> None:
    async def served() -> None:
        async with served_with_provider(**settings) as (site, provider):
            await site.sign_in()
            await check(site, provider)

    asyncio.run(served())


def test_a_change_needs_the_token_of_the_session_in_header_or_form() -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        token = await site.csrf_token()
        for path in ("/v1/change", "/change"):
            assert (await site.send("POST", path, json={})).status == 403
            assert (await site.send("POST", path, {"X-CSRF-Token": token[:-1] + "g"}, json={})).status == 403
            assert (await site.send("POST", path, {"X-CSRF-Token": ""}, json={})).status == 403
            assert (await site.send("POST", path, {"X-CSRF-Token": "é"}, json={})).status == 403
        by_header = await site.send("POST", "/v1/change", {"X-CSRF-Token": token}, json={"reason": "a"})
        assert (by_header.status, by_header.json()) == (200, {"reason": "a"})
        by_form = await site.send("POST", "/change", data={"csrf_token": token, "reason": "b"})
        assert (by_form.status, by_form.json()) == (200, {"reason": "b"})
        wrong = await site.send("POST", "/change", data={"csrf_token": "x", "reason": "b"})
        assert wrong.status == 403
        assert wrong.headers["Content-Type"] == "application/problem+json"

    run(check)


def test_a_token_of_another_session_is_none() -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        theirs = await site.csrf_token()
        site.forget()
        await site.sign_in()
        assert (await site.send("POST", "/v1/change", {"X-CSRF-Token": theirs}, json={})).status == 403

    run(check)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "{origin}"}, 200),
        ({"Origin": "{origin}", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "{origin}.evil.example"}, 403),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "{origin}", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_change_from_another_site_is_refused_even_with_the_token(headers: dict[str, str], status: int) -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        sent = {name: value.format(origin=site.url) for name, value in headers.items()}
        sent["X-CSRF-Token"] = await site.csrf_token()
        assert (await site.send("POST", "/v1/change", sent, json={})).status == status

    run(check)


def test_behind_a_proxy_the_origin_is_the_public_one() -> None:
    async def check() -> None:
        public = "https://Report.Example:443/"
        async with served_with_provider(public_url=public) as (site, provider):
            provider.redirect_uri = "https://report.example/sign-in/callback"
            began = await site.get("/sign-in")
            back = (await site.get(began.location)).location.replace("https://report.example", site.url)
            answer = await site.get(back, Cookie=began.set_cookies[0].partition(";")[0])
            session = answer.set_cookies[1].partition(";")[0]
            token = (await site.get("/", Cookie=session)).text.rsplit(" ", 1)[1]
            for origin, status in (("https://report.example", 200), (site.url, 403)):
                sent = {"Cookie": session, "X-CSRF-Token": token, "Origin": origin}
                assert (await site.send("POST", "/v1/change", sent, json={})).status == status

    asyncio.run(check())


def test_a_bearer_token_counts_before_the_session_and_needs_no_csrf_token() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        token = provider.token(sub="robot", preferred_username="robot", roles="tenant-reader")
        assert (await site.call(token)).json()["name"] == "robot"
        sent = {"Authorization": f"bearer {token}", "Origin": "https://evil.example"}
        assert (await site.send("POST", "/v1/change", sent, json={})).status == 200
        assert (await site.call("rubbish")).status == 401
        assert (await site.call("")).status == 401
        assert (await site.get("/v1/me", Authorization="Basic dXNlcjpwdw==")).json()["name"] == "ana"

    run(check)


def test_sign_out_ends_the_session_here_and_leads_to_nothing_by_itself() -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        token, session = await site.csrf_token(), site.cookies()["tes-session"]
        assert (await site.get("/sign-out")).location == "/"  # looking at it ends nothing
        assert (await site.send("POST", "/sign-out")).status == 403
        assert (await site.get("/v1/me")).status == 200
        answer = await site.send("POST", "/sign-out", data={"csrf_token": token})
        assert (answer.status, answer.location) == (303, "/sign-out")
        assert site.cookies() == {}
        shown = await site.get("/sign-out")
        assert shown.status == 200
        assert "You are signed out" in shown.text
        assert (await site.get("/v1/me", Cookie=f"tes-session={session}")).status == 401
        assert (await site.send("POST", "/sign-out")).location == "/sign-out"  # once more, without a session

    run(check)


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_another_site_signs_nobody_out_by_a_request_without_their_session(headers: dict[str, str]) -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        kept = site.cookies()
        site.forget()  # a browser sends no cookie along that is for our own pages only
        answer = await site.send("POST", "/sign-out", headers)
        assert (answer.status, answer.set_cookies) == (403, [])
        assert answer.headers["Content-Type"] == "application/problem+json"
        site.keep("tes-session", kept["tes-session"])
        assert (await site.get("/v1/me")).status == 200

    run(check)


def test_a_stranger_is_sent_to_sign_in_only_where_a_person_reads() -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        site.forget()
        html = {"Accept": "text/html,application/xhtml+xml"}
        assert (await site.get("/servers/a?b=c", **html)).location == "/sign-in?next=/servers/a%3Fb%3Dc"
        for method, path, headers in (
            ("GET", "/v1/me", html),
            ("GET", "/", {"Accept": "application/json"}),
            ("GET", "/", {}),
            ("POST", "/change", html),
        ):
            answer = await site.send(method, path, dict(headers))
            assert (answer.status, answer.location) == (401, "")
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="tes-report"'
            assert answer.headers["Content-Type"] == "application/problem+json"

    run(check)


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        ("{url}/servers/a?b=c", "/sign-in?next=/servers/a%3Fb%3Dc"),
        ("{url}/", "/sign-in"),
        ("https://evil.example//evil.example/", "/sign-in"),
        ("rubbish", "/sign-in"),
        ("http://[", "/sign-in"),
        ("", "/sign-in"),
    ],
)
def test_a_part_of_a_page_takes_the_whole_page_to_sign_in(current: str, expected: str) -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        site.forget()
        sent = {"Accept": "text/html", "HX-Request": "true", "HX-Current-URL": current.format(url=site.url)}
        answer = await site.send("GET", "/", sent)
        assert (answer.status, answer.headers["HX-Redirect"], answer.location) == (401, expected, "")

    run(check)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:6070", "127.0.0.1@evil.example", "0.0.0.0"]
)
def test_a_name_that_a_stranger_points_here_is_not_answered(host: str) -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        session = f"tes-session={site.cookies()['tes-session']}"
        for path in ("/", "/v1/me", "/sign-in", "/sign-in/callback"):
            assert (await site.get(path, Host=host, Cookie=session)).status == 421, path
        assert (await site.send("POST", "/sign-out", {"Host": host, "Cookie": session})).status == 421
        assert (await site.get("/v1/me", Host=host, Authorization=f"Bearer {provider.token()}")).status == 200

    run(check)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:6070", "[::1]:6070", "LOCALHOST"])
def test_names_of_this_machine_are_answered(host: str) -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        session = f"tes-session={site.cookies()['tes-session']}"
        assert (await site.get("/v1/me", Host=host, Cookie=session)).status == 200

    run(check)


def test_what_is_kept_of_failures_is_bounded() -> None:
    clock = Clock()
    limit = FailureLimit(clock, most_addresses=3)
    assert [limit.count("a"), limit.count("a"), limit.count("b"), limit.count("c"), limit.count("a")] == [1, 2, 1, 1, 3]
    assert limit.count("d") == 1
    assert len(limit._counts) == 3
    assert limit.count("a") == 4  # it failed later than b, which was forgotten
    clock.advance(60)
    assert limit.count("a") == 1
