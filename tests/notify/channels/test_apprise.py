"""Apprise against services on loopback: what it takes, and how long it waits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from streams.domain.outputs.notification import NotificationKind
from streams.notices.model import OPERATORS, DestinationKind, Message, Outcome, OutcomeKind
from streams.notify.channels.apprise import MOST_BODY_CHARS, AppriseChannel, body_of
from streams.notify.channels.wording import card_of
from tests.support.notice_receivers import (
    Handler,
    Received,
    TestLinks,
    confirmation,
    destination_at,
    digest,
    receiving,
    single,
    trial,
)
from tests.support.occasions import occasion

SECRET = "t0ken-in-the-path"


def sent(
    message: Message, handler: Handler | None = None, status: int = 200, owner: str = OPERATORS, **limits: Any
) -> tuple[Outcome, list[Received]]:
    async def run() -> tuple[Outcome, list[Received]]:
        async with receiving(handler, status) as receiver:
            address = receiver.url.replace("http://", "json://").replace("/hook", f"/{SECRET}")
            return await send_to(address, message, owner, **limits), receiver.received

    return asyncio.run(run())


async def send_to(address: str, message: Message, owner: str = OPERATORS, **limits: Any) -> Outcome:
    channel = AppriseChannel(TestLinks(), **limits)
    destination = destination_at(address, DestinationKind.APPRISE)._replace(tenant_id=owner)
    try:
        return await channel.send(destination, message)
    finally:
        channel.close()


def test_a_notice_goes_with_its_title_its_facts_and_a_link() -> None:
    outcome, (received,) = sent(single(**occasion(NotificationKind.STAGE_ENTERED)))
    assert (outcome.kind, outcome.why) == (OutcomeKind.DELIVERED, "JSON took it")
    assert received.event["title"] == "contoso: Enforcement of mx1.contoso.com has become stricter"
    body = received.event["message"]
    assert "What to install: Exchange Server 2016 CU23 Oct24SU, KB5044062" in body
    assert "id 15.1.2507.39; Mon" in body
    assert body.endswith("Show in the report: https://report.example/servers/mx1.contoso.com")


@pytest.mark.parametrize("message", [confirmation("t0ken"), trial(), digest(500), single(text="x" * 100_000)])
def test_every_form_of_message_has_a_bounded_text_and_a_link(message: Message) -> None:
    destination = destination_at("json://h", DestinationKind.APPRISE)._replace(tenant_id=OPERATORS)
    body = body_of(card_of(destination, message, TestLinks()))
    assert len(body) <= MOST_BODY_CHARS
    assert "https://report.example/" in body.splitlines()[-1]


def test_nobody_is_mentioned_by_a_name() -> None:
    _, (received,) = sent(single(kind="UNKNOWN", title="@everyone", text="hello @here", server="@channel"))
    assert not {"@everyone", "@here", "@channel"} & set(json.dumps(received.event, ensure_ascii=False).split('"'))
    assert "@e" not in received.event["title"]
    assert "@h" not in received.event["message"]


@pytest.mark.parametrize("status", [404, 410, 500])
def test_a_failure_is_tried_again_and_says_why_without_the_address(status: int) -> None:
    outcome, _ = sent(single(), status=status)
    assert outcome.kind is OutcomeKind.FAILED
    assert outcome.why.startswith("JSON: ")
    assert str(status) in outcome.why
    assert SECRET not in outcome.why


def test_a_failure_that_an_address_calls_unimportant_is_one() -> None:
    async def run() -> Outcome:
        async with receiving(status=500) as receiver:
            return await send_to(receiver.url.replace("http://", "json://") + "?optional=yes", single())

    assert asyncio.run(run()).kind is OutcomeKind.FAILED


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("nosuchservice://host/x", "Apprise knows no such address"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#one/#two", "has 2 targets"),
    ],
)
def test_an_address_that_cannot_be_is_not_asked_again_and_again(address: str, why: str) -> None:
    asked = asyncio.run(send_to(address, confirmation()))
    assert asked.kind is OutcomeKind.REFUSED
    assert why in asked.why
    # A notice waits: the library may have known it yesterday.
    assert asyncio.run(send_to(address, single())).kind is OutcomeKind.FAILED


def test_no_tenant_is_told_by_it_whatever_the_ledger_says() -> None:
    outcome, received = sent(single(), owner="contoso")
    assert (outcome.kind, received) == (OutcomeKind.REFUSED, [])


@pytest.mark.parametrize("limits", [{"call_seconds": 0.2}, {"send_seconds": 0.2}])
def test_a_service_that_hangs_keeps_nobody_waiting(limits: dict[str, Any]) -> None:
    ended = asyncio.Event()

    async def hang(_: web.BaseRequest) -> web.StreamResponse:
        await ended.wait()
        return web.Response()

    async def run() -> Outcome:
        async with receiving(hang) as receiver:
            outcome = await send_to(receiver.url.replace("http://", "json://"), single(), **limits)
            ended.set()
            return outcome

    outcome = asyncio.run(run())
    assert outcome.kind is OutcomeKind.FAILED
    assert "did not finish within" in outcome.why or "no answer within" in outcome.why
