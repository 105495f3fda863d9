"""Sign-in in a browser by authorization code and PKCE, at a strict provider."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from streams.report.access.sign_in import ATTEMPT_SECONDS
from streams.report.access.site import local_path
from tests.support.oidc_provider import CLIENT_ID, SECRET, OidcProvider
from tests.support.report_access import Answer, Site, served_with_provider

Check = Callable[[Site, OidcProvider], Awaitable[None]]
PUBLIC = "https://report.example"


def run(check: Check, **settings: Any) -> None:
    async def served() -> None:
        async with served_with_provider(**settings) as (site, provider):
            await check(site, provider)

    asyncio.run(served())


async def callback_of(site: Site) -> str:
    """Where the provider sends the browser back to, once somebody agreed there."""
    return (await site.get((await site.get("/sign-in")).location)).location


def changed(address: str, **query: str | None) -> str:
    """An address with another query."""
    given = dict(parse_qsl(urlsplit(address).query)) | query
    return (
        f"{address.partition('?')[0]}?{urlencode({name: value for name, value in given.items() if value is not None})}"
    )


def failed(answer: Answer, why: str, status: int = 400) -> None:
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8"), answer.text
    assert why in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not any("session" in cookie for cookie in answer.set_cookies)


@pytest.mark.parametrize("secret", [SECRET, ""])
def test_a_person_signs_in_and_sees_the_page_that_was_asked_for(secret: str) -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        provider.secret = secret
        asked = await site.get("/servers/ex03?tab=history", Accept="text/html,*/*")
        assert (asked.status, asked.headers["Cache-Control"]) == (303, "no-store")
        began = await site.get(asked.location)
        assert began.location.startswith(f"{provider.issuer}/authorize?")
        came_back = await site.get((await site.get(began.location)).location)
        assert (came_back.status, came_back.location) == (303, "/servers/ex03?tab=history")
        assert (await site.get(came_back.location)).text.startswith("page of ana ")
        assert list(site.cookies()) == ["tes-session"]
        assert (await site.get("/v1/me")).json()["role"] == "tenant-admin"

    run(check, oidc_client_secret=secret)


def test_the_client_secret_may_be_in_a_file_that_is_read_for_every_sign_in(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("old")

    async def check(site: Site, provider: OidcProvider) -> None:
        failed(await site.sign_in(), "refused to complete the sign-in: invalid_client")
        file.write_text(f"{SECRET}\n")
        assert (await site.sign_in()).status == 303
        file.unlink()
        failed(await site.sign_in(), "Sign-in is not possible now", 503)

    run(check, oidc_client_secret="", oidc_client_secret_file=str(file))


def test_cookies_are_for_this_site_alone_and_for_no_script() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        began = await site.get("/sign-in")
        (attempt,) = began.set_cookies
        assert attempt.startswith("__Host-tes-sign-in=")
        assert _flags(attempt) == {"HttpOnly", "Max-Age=600", "Path=/", "SameSite=lax", "Secure"}
        assert parse_qs(urlsplit(began.location).query)["redirect_uri"] == [f"{PUBLIC}/sign-in/callback"]
        agreed = await site.get(began.location)
        back = agreed.location.replace(PUBLIC, site.url)
        answer = await site.get(back, Cookie=attempt.partition(";")[0])  # the browser would, by HTTPS
        forgotten, session = answer.set_cookies
        assert forgotten.startswith('__Host-tes-sign-in="";')
        assert "Max-Age=0" in forgotten
        assert session.startswith("__Host-tes-session=")
        assert _flags(session) == {"HttpOnly", "Path=/", "SameSite=lax", "Secure"}
        assert (await site.get("/v1/me", Cookie=session.partition(";")[0])).status == 200
        plain = session.partition(";")[0].removeprefix("__Host-")
        assert (await site.get("/v1/me", Cookie=plain)).status == 401

    run(check, public_url=PUBLIC)


def _flags(cookie: str) -> set[str]:
    return {part.strip() for part in cookie.split(";")[1:]}


def test_the_session_changes_at_sign_in_and_the_old_one_ends() -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        await site.sign_in()
        old, old_token = site.cookies()["tes-session"], await site.csrf_token()
        await site.sign_in()
        assert await site.csrf_token() != old_token
        site.forget()
        assert (await site.get("/v1/me", Cookie=f"tes-session={old}")).status == 401

    run(check)


def test_a_session_that_somebody_else_planted_is_not_taken_over() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        provider.user = {"sub": "mallory", "tenant_id": "evil", "roles": ["tenant-reader"]}
        await site.sign_in()
        planted = site.cookies()["tes-session"]
        site.forget()
        site.keep("tes-session", planted)
        provider.user = {"sub": "ana", "tenant_id": "acme", "roles": ["tenant-admin"]}
        await site.sign_in()
        assert (await site.get("/v1/me")).json()["name"] == "ana"
        site.forget()
        assert (await site.get("/v1/me", Cookie=f"tes-session={planted}")).status == 401

    run(check)


def test_an_answer_counts_only_in_the_browser_that_began_and_only_once() -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        back = await callback_of(site)
        attempt = site.cookies()["tes-sign-in"]
        site.forget()
        failed(await site.get(back), "not begun in this browser")
        site.keep("tes-sign-in", attempt)
        failed(await site.get(changed(back, state="another")), "not begun in this browser")
        site.keep("tes-sign-in", attempt)
        assert (await site.get(back)).status == 303
        site.forget()
        site.keep("tes-sign-in", attempt)
        failed(await site.get(back), "invalid_grant")

    run(check)


def test_a_sign_in_that_takes_too_long_begins_again() -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        back = await callback_of(site)
        site.clock.advance(ATTEMPT_SECONDS)
        failed(await site.get(back), "or too long ago")

    run(check)


def test_a_second_tab_goes_on_with_the_session_of_the_first() -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        first = await callback_of(site)
        second = await callback_of(site)
        assert (await site.get(second)).status == 303
        late = await site.get(first)
        assert (late.status, late.location, late.set_cookies) == (303, "/", [])

    run(check)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"iss": "https://evil.example"}, "The answer came from another provider."),
        ({"code": None}, "no code"),
        ({"code": "c" * 4_097}, "no code"),
        ({"code": "guessed"}, "invalid_grant"),
        (
            {"error": "access_denied", "error_description": "No <b>way</b>\u202e"},
            "access_denied: No &lt;b&gt;way&lt;/b&gt;\\u202e",
        ),
        ({"error": "<script>alert(1)</script>"}, "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ({"error": "e", "error_description": "d" * 9_000}, f"e: {'d' * 300}</p>"),
    ],
)
def test_an_answer_of_the_provider_that_is_no_success_is_shown_escaped(query: dict[str, str | None], why: str) -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        answer = await site.get(changed(await callback_of(site), **query))
        failed(answer, why)
        assert "<script" not in answer.text
        assert "tes-sign-in" not in site.cookies()

    run(check)


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"nonce": "another"}, "its nonce is not the one of this sign-in"),
        ({"nonce": None}, "its nonce is not the one of this sign-in"),
        ({"aud": "tes-api"}, "its aud is refused"),
        ({"aud": [CLIENT_ID, "other"]}, "it has several audiences and names no client"),
        ({"azp": "other"}, "it was issued to another client"),
        ({"iss": "https://evil.example"}, "its iss is refused"),
        ({"exp": 1}, "it has expired"),
    ],
)
def test_an_id_token_that_is_not_for_this_sign_in_is_refused(claims: dict[str, Any], why: str) -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        provider.spoil = lambda good: good.update(claims)
        failed(await site.sign_in(), why)

    run(check)


def test_several_audiences_are_fine_if_the_token_was_issued_to_this_client() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        provider.spoil = lambda good: good.update(aud=[CLIENT_ID, "other"], azp=CLIENT_ID)
        assert (await site.sign_in()).status == 303

    run(check)


@pytest.mark.parametrize("user", [{"roles": []}, {"tenant_id": "*"}, {"roles": ["<b>"]}])
def test_somebody_without_access_is_told_so(user: dict[str, Any]) -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        provider.user |= user
        answer = await site.sign_in()
        failed(answer, "your account gives no access", 403)
        assert "<b>" not in answer.text
        assert (await site.get("/v1/me")).status == 401

    run(check)


def test_without_the_provider_nobody_new_signs_in_and_sessions_go_on() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        await site.sign_in()
        back = await callback_of(site)
        session = site.cookies()["tes-session"]
        provider.answer = lambda: web.Response(status=502, text="<html>")
        failed(await site.get(back), "does not answer", 503)
        assert (await site.get("/v1/me", Cookie=f"tes-session={session}")).status == 200

    run(check)


def test_a_provider_that_was_never_reached_is_asked_again_later() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        provider.answer = lambda: web.Response(status=502)
        failed(await site.get("/sign-in"), "does not answer", 503)
        provider.answer = None
        site.clock.advance(5)
        assert (await site.get("/sign-in")).status == 303

    run(check)


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "\t//evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "evil.example",
        "",
        "/\r\nSet-Cookie: a=b",
        "/" + "a" * 1_000,
        "/sign-in?next=/sign-in",
        "/sign-in/callback?code=1",
        "/sign-out",
        "/é",
    ],
)
def test_nobody_is_sent_elsewhere_after_sign_in(path: str) -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        began = await site.get(f"/sign-in?{urlencode({'next': path})}")
        answer = await site.get((await site.get(began.location)).location)
        assert (answer.status, answer.location) == (303, "/")

    assert local_path(path) == "/"
    run(check)


@pytest.mark.parametrize(
    "path", ["/", "/servers/ex03?tab=history&b=%2F%2Fevil", "/a/../b", "/pauses#top", "/a//b", "/signin"]
)
def test_a_path_of_our_own_is_kept(path: str) -> None:
    assert local_path(path) == path


@given(st.text() | st.from_regex(r"[/\\\t a-z:@.]{1,12}"))
def test_no_path_leads_to_another_host(text: str) -> None:
    path = local_path(text)
    assert path.isascii()
    assert path.isprintable()
    assert path[0] == "/"
    assert path[1:2] not in ("/", "\\")
    assert "\\" not in path
    assert urlsplit(path).netloc == urlsplit(path).scheme == ""


def test_a_session_ends_when_it_is_idle_or_old_and_the_page_leads_to_sign_in() -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        await site.sign_in()
        for _minute in range(29):
            site.clock.advance(60)
            assert (await site.get("/v1/me")).status == 200
        site.clock.advance(29 * 60)
        renewed = await site.get("/v1/me")
        assert renewed.set_cookies[0].startswith("tes-session=")
        site.clock.advance(30 * 60)
        assert (await site.get("/v1/me")).status == 401
        assert (await site.get("/", Accept="text/html")).location == "/sign-in"
        await site.sign_in()
        for _twenty in range(23):
            site.clock.advance(20 * 60)
            assert (await site.get("/v1/me")).status == 200
        site.clock.advance(20 * 60)
        assert (await site.get("/v1/me")).status == 401

    run(check)


def test_replicas_with_one_key_share_sessions_and_others_do_not(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 32)

    async def check(site: Site, _: OidcProvider) -> None:
        await site.sign_in()
        cookie = f"tes-session={site.cookies()['tes-session']}"
        for settings, status in (
            ({"session_key": "k" * 32}, 200),
            ({"session_key_file": str(key)}, 200),
            ({"session_key": "o" * 32}, 401),
            ({}, 401),
        ):
            async with served_with_provider(**settings) as (other, _provider):
                assert (await other.get("/v1/me", Cookie=cookie)).status == status

    run(check, session_key="k" * 32)
