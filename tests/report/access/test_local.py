"""The local sign-in of the demo: on this machine only, by a form, until the process ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest

from streams.report.access.local import FORM_SECONDS
from streams.report.access.wiring import access_of
from streams.settings.report import ReportSettings
from tests.support.oidc_provider import AUDIENCE
from tests.support.report_access import Answer, Clock, Site, serving

Check = Callable[[Site], Awaitable[None]]
DEMO = ReportSettings(local_sign_in="demo", session_key="k" * 32)


def run(check: Check) -> None:
    async def served() -> None:
        async with serving(DEMO, Clock()) as site:
            await check(site)

    asyncio.run(served())


async def form_token(site: Site, path: str = "/sign-in") -> str:
    """What the form of this browser holds."""
    found = re.search(r'name="csrf_token" value="(\w+)"', (await site.get(path)).text)
    assert found is not None
    return found[1]


async def sign_in(site: Site, headers: dict[str, str] | None = None, **fields: str) -> Answer:
    form = {"csrf_token": await form_token(site), "role": "tenant-reader", "tenant": "acme", **fields}
    return await site.send("POST", "/sign-in", headers, data=form)


@pytest.mark.parametrize(
    ("role", "tenant", "expected"),
    [
        ("tenant-reader", "acme", "acme"),
        ("tenant-admin", "acme ", "acme"),
        ("operator", "", None),
        ("operator", "*", None),
    ],
)
def test_one_signs_in_as_whomever_one_chooses(role: str, tenant: str, expected: str | None) -> None:
    async def check(site: Site) -> None:
        assert (await site.get("/pauses", Accept="text/html")).status == 404
        answer = await sign_in(site, role=role, tenant=tenant, next="/servers/a")
        assert (answer.status, answer.location) == (303, "/servers/a")
        assert list(site.cookies()) == ["tes-session"]
        found = (await site.get("/v1/me")).json()
        assert (found["role"], found["tenant"], found["name"]) == (role, expected, f"{role} (local demo)")

    run(check)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"tenant": "*"}, "tenant_id: &#x27;*&#x27;: must match"),
        ({"tenant": ""}, "tenant_id: &#x27;&#x27;: must match"),
        ({"tenant": "<b>"}, "tenant_id: &#x27;&lt;b&gt;&#x27;: must match"),
        ({"role": "root"}, "role: must be one of tenant-reader, tenant-admin, operator"),
    ],
)
def test_a_wrong_choice_is_said_and_may_be_made_again(fields: dict[str, str], why: str) -> None:
    async def check(site: Site) -> None:
        answer = await sign_in(site, None, **fields)
        assert answer.status == 400
        assert why in answer.text
        assert (await site.get("/v1/me")).status == 401
        assert (await sign_in(site)).status == 303

    run(check)


def test_the_form_must_be_one_that_this_browser_was_shown() -> None:
    async def check(site: Site) -> None:
        token = await form_token(site)
        site.forget()
        form = {"csrf_token": token, "role": "operator"}
        assert (await site.send("POST", "/sign-in", data=form)).status == 403
        await form_token(site)
        assert (await site.send("POST", "/sign-in", data=form)).status == 403
        token = await form_token(site)
        site.clock.advance(FORM_SECONDS)
        assert (await site.send("POST", "/sign-in", data=form | {"csrf_token": token})).status == 403

    run(check)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "report.127.0.0.1.nip.example:6070"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"X-Forwarded-For": "192.0.2.1"}, 403),
        ({"Forwarded": "for=192.0.2.1"}, 403),
        ({"Via": "1.1 proxy"}, 403),
    ],
)
def test_nobody_signs_in_from_elsewhere(headers: dict[str, str], status: int) -> None:
    async def check(site: Site) -> None:
        assert (await sign_in(site, headers, role="operator")).status == status
        if not {"Origin", "Sec-Fetch-Site"} & headers.keys():
            assert (await site.send("GET", "/sign-in", headers)).status == status

    run(check)


def test_a_bearer_token_is_worth_nothing() -> None:
    async def check(site: Site) -> None:
        assert (await site.call("a.b.c")).status == 401

    run(check)


def test_its_sessions_end_with_the_process_whatever_the_key(caplog: pytest.LogCaptureFixture) -> None:
    async def check(site: Site) -> None:
        await sign_in(site)
        cookie = f"tes-session={site.cookies()['tes-session']}"
        assert (await site.get("/v1/me", Cookie=cookie)).status == 200
        async with serving(DEMO, site.clock) as other:
            assert (await other.get("/v1/me", Cookie=cookie)).status == 401

    run(check)
    warned = [record for record in caplog.records if record.__dict__.get("event") == "report_local_sign_in"]
    assert [record.levelname for record in warned] == ["WARNING", "WARNING"]


def test_sign_out_ends_it() -> None:
    async def check(site: Site) -> None:
        await sign_in(site)
        token, cookie = await site.csrf_token(), f"tes-session={site.cookies()['tes-session']}"
        await site.send("POST", "/sign-out", data={"csrf_token": token})
        assert (await site.get("/v1/me", Cookie=cookie)).status == 401

    run(check)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (ReportSettings(), "TES_REPORT_OIDC_ISSUER is not set"),
        (ReportSettings(api_port=0, local_sign_in="demo"), "TES_REPORT_API_PORT is 0"),
        (
            ReportSettings(api_port=0, oidc_issuer="https://id.example", oidc_audience=AUDIENCE),
            "TES_REPORT_API_PORT is 0",
        ),
    ],
)
def test_where_nobody_could_say_who_calls_there_is_no_api(
    settings: ReportSettings, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert access_of(settings) is None
    assert [record.getMessage() for record in caplog.records] == [f"API and page are off: {why}"]
