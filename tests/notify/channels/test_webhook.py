from __future__ import annotations

import asyncio
import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web
from cloudevents.core.formats.json import JSONFormat
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from streams.clock import wall_clock_ms
from streams.domain.outputs.notification import NotificationKind
from streams.domain.time import DAY_MS, moment_ms
from streams.notices.model import Destination, Message, Outcome, OutcomeKind
from streams.notices.reach import GuardRules
from streams.notices.webhook_secrets import SigningKeyError, check_secret, make_secret
from streams.notify.channels.cloud_event import event_of
from streams.notify.channels.guard import GuardedClient
from streams.notify.channels.signing import KeyPair, make_private_key, sign_message
from streams.notify.channels.webhook import WebhookChannel, retry_after_ms
from tests.support.notice_receivers import (
    LOOPBACK,
    NOW,
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

LINK = "https://report.example/notices"


def _channel(client: GuardedClient, keys: KeyPair | None = None) -> WebhookChannel:
    return WebhookChannel(client, source="https://report.example", links=TestLinks(), clock=wall_clock_ms, keys=keys)


async def _sent(
    message: Message, handler: Handler | None = None, keys: KeyPair | None = None, status: int = 200, **options: Any
) -> tuple[Outcome, list[Received], Destination]:
    changes = options.pop("changes", {})
    async with receiving(handler, status, **options) as receiver, GuardedClient(LOOPBACK) as client:
        destination = destination_at(receiver.url, **changes)
        return await _channel(client, keys).send(destination, message), receiver.received, destination


def _verify_v1a(public: str, received: Received) -> None:
    content = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode() + received.body
    signatures = dict(one.split(",") for one in received.headers["webhook-signature"].split())
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_")))
    key.verify(base64.b64decode(signatures["v1a"]), content)


def test_a_receiver_verifies_both_signatures_over_the_bytes_it_got() -> None:
    keys = KeyPair(make_private_key())
    outcome, (received,), destination = asyncio.run(_sent(single(server="bücher.example"), keys=keys))
    assert outcome == Outcome(OutcomeKind.DELIVERED, 200)
    assert destination.secret is not None
    Webhook(destination.secret).verify(received.body, received.headers)
    _verify_v1a(keys.public, received)
    assert received.headers["webhook-id"] == "m-1"
    assert received.headers["content-type"] == "application/cloudevents+json"
    with pytest.raises(WebhookVerificationError):
        Webhook(make_secret()).verify(received.body, received.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(destination.secret).verify(received.body + b" ", received.headers)


def test_while_a_secret_is_rotated_both_hold_and_then_only_the_new_one() -> None:
    former, now = make_secret(), wall_clock_ms()
    for until, holds in ((now + 60_000, True), (now - 1, False), (None, False)):
        changes = {"former_secret": former, "former_secret_until": until}
        _, (received,), destination = asyncio.run(_sent(single(), changes=changes))
        assert destination.secret is not None
        Webhook(destination.secret).verify(received.body, received.headers)
        assert len(received.headers["webhook-signature"].split()) == 1 + holds
        if holds:
            Webhook(former).verify(received.body, received.headers)
        else:
            with pytest.raises(WebhookVerificationError):
                Webhook(former).verify(received.body, received.headers)


def test_the_signed_moment_is_utc_whatever_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    destination = destination_at("https://example.com/")
    assert destination.secret is not None
    expected = Webhook(destination.secret).sign("m", datetime.fromtimestamp(NOW // 1000, UTC), "{}")
    for zone in ("UTC", "Asia/Tokyo", "America/Los_Angeles"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        headers = sign_message(destination, "m", NOW + 999, b"{}")
        assert (headers["webhook-signature"], headers["webhook-timestamp"]) == (expected, str(NOW // 1000))
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    "text", ["", "whsec_", "secret", "whsec_!!!", "whsec_c2hvcnQ=", "whsk_" + "A" * 44, "whsec_" + "A" * 100]
)
def test_what_is_no_secret_is_refused_and_never_shown(text: str) -> None:
    with pytest.raises(SigningKeyError) as caught:
        check_secret(text)
    assert text[6:] not in str(caught.value) or not text[6:]


@pytest.mark.parametrize("text", ["", "whsk_", "whsec_" + "A" * 44, "whsk_c2hvcnQ=", "whsk_" + "A" * 86 + "=="])
def test_what_is_no_key_pair_is_refused(text: str) -> None:
    with pytest.raises(SigningKeyError):
        KeyPair(text)


def test_a_webhook_without_any_secret_is_not_called() -> None:
    outcome, received, _ = asyncio.run(_sent(single(), changes={"secret": ""}))
    assert (outcome.kind, received) == (OutcomeKind.FAULT, [])


def test_a_notice_is_a_cloud_event_with_the_fields_of_the_topic() -> None:
    _, (received,), _ = asyncio.run(_sent(single(next_stage_at=NOW)))
    event = JSONFormat().read(None, received.body)
    assert (event.get_id(), event.get_type(), event.get_subject()) == ("m-1", "tes.notification.v1", "mx1.contoso.com")
    assert event.get_source() == "https://report.example"
    data = received.event["data"]
    assert (data["notification_id"], data["kind"], data["tenant_id"]) == ("n1", "STAGE_ENTERED", "contoso")
    assert data["next_stage_at"] == datetime.fromtimestamp(NOW / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert "cut_fields" not in data


def test_a_webhook_has_the_whole_header_line_that_shows_the_build() -> None:
    notice = occasion(NotificationKind.STAGE_ENTERED)
    data = json.loads(event_of(single(evidence=notice["evidence"]), "tes", LINK))["data"]
    assert data["evidence"]["received"] == notice["evidence"]["received"]
    assert data["evidence"]["observed_at"].endswith("Z")
    notice["evidence"]["received"] = "x" * 100_000
    for message, most in ((single(evidence=notice["evidence"]), 2_000), (digest(9, evidence=notice["evidence"]), 300)):
        body = event_of(message, "tes", LINK)
        data = json.loads(body)["data"]
        (first, *_) = data.get("notices", [data])
        assert len(body) <= 20_000
        assert len(first["evidence"]["received"]) == most
        assert first["cut_fields"] == ["evidence"]


def test_a_digest_has_its_notices_in_order_and_no_server_of_its_own() -> None:
    _, (received,), _ = asyncio.run(_sent(digest(3)))
    event = received.event
    assert (event["type"], event["id"], "subject" in event) == ("tes.digest.v1", "m-2", False)
    assert [one["notification_id"] for one in event["data"]["notices"]] == ["n0", "n1", "n2"]
    assert (event["data"]["count"], event["data"]["left_out"]) == (3, 0)


def test_a_digest_of_one_server_names_it() -> None:
    assert json.loads(event_of(digest(2, server="mx.contoso.com"), "tes", LINK))["subject"] == "mx.contoso.com"


@pytest.mark.parametrize("count", [1, 20, 100, 5_000])
@pytest.mark.parametrize("text", ["short", "ü" * 100_000])
def test_a_long_digest_says_how_much_is_left_out_and_where_it_is(count: int, text: str) -> None:
    body = event_of(digest(count, text=text), "tes", LINK)
    data = json.loads(body)["data"]
    assert len(body) <= 20_000 or len(data["notices"]) == 1
    assert data["count"] == count == data["left_out"] + len(data["notices"])
    assert data["link"] == LINK
    if len(text) > 10:
        assert "text" in data["notices"][0]["cut_fields"]


@given(
    st.sampled_from(["server", "title", "text", "link", "build", "policy_id"]),
    st.sampled_from(["x", "ü", "\U0001f600", "\0"]),
)
def test_a_field_of_100_kb_is_cut_and_named(field: str, character: str) -> None:
    body = event_of(single(**{field: character * 100_000}), "tes", LINK)
    assert len(body) <= 20_000
    assert json.loads(body)["data"]["cut_fields"] == [field]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, "DELIVERED"), (202, "DELIVERED"), (204, "DELIVERED"), (299, "DELIVERED"), (301, "FAILED"), (304, "FAILED"),
     (308, "FAILED"), (400, "FAILED"), (401, "FAILED"), (404, "FAILED"), (410, "GONE"), (413, "FAILED"),
     (429, "FAILED"), (500, "FAILED"), (502, "FAILED"), (503, "FAILED"), (599, "FAILED")],
)  # fmt: skip
def test_each_status_has_its_outcome(status: int, kind: str) -> None:
    outcome, _, _ = asyncio.run(_sent(single(), status=status))
    assert (outcome.kind, outcome.code) == (OutcomeKind(kind), status)


@pytest.mark.parametrize(
    ("status", "value", "wait"),
    [
        (429, "120", 120_000),
        (503, "120", 120_000),
        (500, "120", None),
        (429, "never", None),
        (429, "999999999", DAY_MS),
    ],
)
def test_retry_after_is_honoured_where_the_receiver_is_busy(status: int, value: str, wait: int | None) -> None:
    outcome, _, _ = asyncio.run(_sent(single(), status=status, headers={"Retry-After": value}))
    assert outcome.retry_after_ms == wait


def _at(year: int, month: int, day: int) -> int:
    return moment_ms(datetime(year, month, day, tzinfo=UTC))


def test_retry_after_may_be_a_date() -> None:
    assert retry_after_ms("Sun, 29 Nov 2026 00:10:00 GMT", _at(2026, 11, 29)) == 600_000
    assert retry_after_ms("Sun, 29 Nov 2026 00:10:00 -0000", _at(2026, 11, 29)) == 600_000
    assert retry_after_ms("Sun, 29 Nov 2026 00:10:00 GMT", _at(2026, 11, 30)) == 0
    assert retry_after_ms("Sun, 29 Nov 2099 00:10:00 GMT", _at(2026, 11, 30)) == DAY_MS
    assert retry_after_ms("0.5", 0) == 500


@given(st.text(max_size=400) | st.from_regex(r"[0-9.]{1,400}", fullmatch=True), st.integers(0, 2**42))
def test_any_retry_after_is_bounded_or_nothing(value: str, now: int) -> None:
    wait = retry_after_ms(value, now)
    assert wait is None or 0 <= wait <= DAY_MS


def test_a_url_that_may_not_be_called_fails_since_the_operator_may_allow_it() -> None:
    async def run(address: str) -> Outcome:
        async with GuardedClient(GuardRules()) as client:
            return await _channel(client).send(destination_at(address), single())

    assert asyncio.run(run("https://127.0.0.1/")).kind == OutcomeKind.FAILED
    assert asyncio.run(run("http://example.com/")).kind == OutcomeKind.FAILED
    assert asyncio.run(run("https://localhost/")).kind == OutcomeKind.FAILED


def test_one_receiver_that_hangs_keeps_no_other_waiting() -> None:
    async def hang(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async def run() -> None:
        async with receiving(hang) as slow, receiving() as quick, GuardedClient(LOOPBACK, total_seconds=30) as client:
            channel = _channel(client)
            stuck = [asyncio.create_task(channel.send(destination_at(slow.url), single())) for _ in range(200)]
            while len(slow.received) < 200:
                await asyncio.sleep(0)
            outcomes = [await channel.send(destination_at(quick.url), single()) for _ in range(50)]
            assert {one.kind for one in outcomes} == {OutcomeKind.DELIVERED}
            assert not any(task.done() for task in stuck)
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)

    asyncio.run(run())


async def _confirmed(handler: Handler | None, status: int = 200) -> tuple[Outcome, Received]:
    async with receiving(handler, status) as receiver, GuardedClient(LOOPBACK) as client:
        outcome = await _channel(client).send(destination_at(receiver.url), confirmation())
        return outcome, receiver.received[0]


def _answering(body: bytes, status: int = 200) -> Handler:
    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=body)

    return answer


async def _reflect(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=await request.read())


def test_a_webhook_is_confirmed_by_the_echoed_challenge() -> None:
    for body in (b"s3cret-challenge", b"s3cret-challenge\n", b'{"challenge": "s3cret-challenge"}'):
        outcome, received = asyncio.run(_confirmed(_answering(body)))
        assert outcome.kind == OutcomeKind.DELIVERED
        assert received.event["type"] == "tes.challenge.v1"
        assert received.event["data"] == {"challenge": "s3cret-challenge"}
        assert "webhook-signature" in received.headers


@pytest.mark.parametrize(
    "handler",
    [
        None,
        _answering(b"ok"),
        _answering(b"{}"),
        _answering(b"[]"),
        _answering(b'{"challenge": null}'),
        _answering(b'{"challenge": "\xff"}'),
        _answering(b"[" * 4_000),
        _answering(b"s3cret-challenge", 500),
        _answering(b"s3cret-challenge", 302),
        _reflect,
    ],
)
def test_nothing_else_confirms_it(handler: Handler | None) -> None:
    outcome, _ = asyncio.run(_confirmed(handler))
    assert outcome.kind != OutcomeKind.DELIVERED


def test_a_notice_of_the_whole_tenant_has_no_subject() -> None:
    assert "subject" not in json.loads(event_of(single(server=None, kind="PAUSE_STARTED"), "tes", LINK))


def test_a_digest_counts_what_was_left_out_before() -> None:
    data = json.loads(event_of(digest(3)._replace(omitted=40), "tes", LINK))["data"]
    assert (data["count"], data["left_out"], len(data["notices"])) == (43, 40, 3)


def test_a_test_says_that_it_is_one() -> None:
    outcome, (received,), _ = asyncio.run(_sent(trial()))
    assert outcome.kind == OutcomeKind.DELIVERED
    assert (received.event["type"], received.event["id"]) == ("tes.test.v1", "m-4")
