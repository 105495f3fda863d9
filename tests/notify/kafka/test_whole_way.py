"""`tes notify` beside a real report: somebody asks to be told, confirms it, and is told once."""

from __future__ import annotations

import asyncio
import re
import ssl
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from standardwebhooks import Webhook

from streams.clock import wall_clock_ms
from streams.kafka.provisioning import create_topics
from streams.notify.channels.cloud_event import NOTICE_TYPE, TEST_TYPE
from streams.notify.channels.signing import make_private_key
from streams.settings.database import DatabaseSettings
from streams.settings.worker import Settings
from tests.support.certificates import Authority
from tests.support.edge_sync import produce
from tests.support.mail_relays import Handler, relaying
from tests.support.notice_receivers import Receiver, receiving
from tests.support.notices import encoded, notification
from tests.support.ports import free_port
from tests.support.process import Process, command_of, environment_of
from tests.support.signed_in import signed_in, text_of, token_in
from tests.support.waiting import until_true

TENANT = "contoso"
SECONDS = 90.0


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    """A receiver that answers challenges, and takes all else."""
    event = await request.json()
    return web.json_response({"challenge": event["data"]["challenge"]} if "challenge" in event["data"] else {})


class Api:
    """The API as somebody who has signed in calls it."""

    def __init__(self, browser: aiohttp.ClientSession, csrf_token: str) -> None:
        self._browser, self._headers = browser, {"x-csrf-token": csrf_token}

    async def post(self, path: str, **data: Any) -> Any:
        async with self._browser.post(path, json=data, headers=self._headers) as answer:
            assert answer.status in (201, 202), await answer.text()
            return await answer.json()

    async def are(self, states: dict[str, str]) -> bool:
        """Whether the destinations have these states, by kind."""
        async with self._browser.get("/v1/destinations") as answer:
            return {one["kind"]: one["state"] for one in (await answer.json())["items"]} == states


async def has(found: Sequence[object], count: int) -> bool:
    return len(found) == count


def link_in(letter: EmailMessage, page: str) -> str:
    plain = letter.get_body(("plain",))
    assert plain is not None
    found = re.search(rf"http://\S+{page}\?token=\S+", plain.get_content())
    assert found is not None, plain.get_content()
    return found[0]


def verified(receiver: Receiver, secret: str, kind: str) -> list[Any]:
    """What a receiver was sent of a kind, where the signature is right."""
    found = []
    for one in receiver.received:
        Webhook(secret).verify(one.body, one.headers)
        assert {signature[:3] for signature in one.headers["webhook-signature"].split()} == {"v1,", "v1a"}
        if one.event["type"] == kind:
            found.append(one.event)
    return found


async def tell(settings: Settings, api: Api, handler: Handler, receiver: Receiver) -> Any:
    """What somebody who asked to be told sees of it; returns the webhook."""
    hook = await api.post("/v1/destinations", kind="WEBHOOK", name="Pager", address=receiver.url)
    mail = await api.post("/v1/destinations", kind="MAIL", name="Admins", address="admin@contoso.example")
    for one in (hook, mail):
        await api.post("/v1/subscriptions", destination_id=one["destination"]["destination_id"])
    await until_true(lambda: has(handler.letters, 1), SECONDS)
    await until_true(lambda: api.are({"WEBHOOK": "ACTIVE", "MAIL": "UNCONFIRMED"}), SECONDS)
    question = link_in(handler.letters[0], "/notices/confirm")
    assert handler.letters[0]["List-Unsubscribe"] is None
    # Who has the link has not signed in.
    async with aiohttp.ClientSession() as reader:
        # Programs that look through mail open links: that changes nothing.
        async with reader.get(question) as answer:
            assert answer.status == 200
        await until_true(lambda: api.are({"WEBHOOK": "ACTIVE", "MAIL": "UNCONFIRMED"}), SECONDS)
        async with reader.post(question) as answer:
            assert answer.status == 200
        await until_true(lambda: api.are({"WEBHOOK": "ACTIVE", "MAIL": "ACTIVE"}), SECONDS)
        record = notification(1, tenant_id=TENANT, occurred_at=wall_clock_ms())
        await produce(settings, "admin_notification", {TENANT.encode(): encoded(record)})
        await until_true(lambda: has(handler.letters, 2), SECONDS)
        await until_true(lambda: has(verified(receiver, hook["secret"], NOTICE_TYPE), 1), SECONDS)
        letter, envelope = handler.letters[1], handler.envelopes[1]
        assert letter["To"] == "admin@contoso.example"
        assert re.fullmatch(r"bounce\+[0-9a-f]{48}@bounces\.example", envelope.mail_from or "")
        async with reader.post(
            letter["List-Unsubscribe"].strip("<>"), data={"List-Unsubscribe": "One-Click"}
        ) as answer:
            assert answer.status == 200
    await until_true(lambda: api.are({"WEBHOOK": "ACTIVE"}), SECONDS)
    # What comes next comes behind all that was sent before.
    later = notification(2, tenant_id=TENANT, occurred_at=wall_clock_ms())
    await produce(settings, "admin_notification", {TENANT.encode(): encoded(later)})
    await until_true(lambda: has(verified(receiver, hook["secret"], NOTICE_TYPE), 2), SECONDS)
    events = verified(receiver, hook["secret"], NOTICE_TYPE)
    assert [event["data"]["notification_id"] for event in events] == ["n1", "n2"]
    assert len(handler.letters) == 2
    return hook


async def send_test(hook: Any, variables: dict[str, str], receiver: Receiver) -> None:
    """The command that tests a destination says how it went, which the process that runs finds out."""
    command = command_of("notify", "test", hook["destination"]["destination_id"])
    process = await asyncio.create_subprocess_exec(*command, env=environment_of(variables), stdout=PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0
    assert re.fullmatch(r"msg_\w+ WEBHOOK https://127\.0\.0\.1:\d+/…: DELIVERED 200\n", said.decode())
    assert len(verified(receiver, hook["secret"], TEST_TYPE)) == 1


@pytest.mark.timeout(300)
def test_who_confirms_is_told_once_until_they_want_no_more(
    settings: Settings, ledger_settings: DatabaseSettings, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*authority.certificate("receiver"))
    api_port, report_port, notify_port = free_port(), free_port(), free_port()
    key_file = tmp_path / "key"
    key_file.write_text(make_private_key())
    common = {name: value for name, value in ledger_settings.environment().items() if name.startswith("TES_REPORT_")}
    common |= {"TES_KAFKA_BOOTSTRAP": settings.bootstrap, "TES_TOPIC_PREFIX": settings.topic_prefix}
    of_report = {"TES_REPORT_LOCAL_SIGN_IN": "demo", "TES_REPORT_API_PORT": str(api_port)}
    of_report["TES_REPORT_PORT"] = str(report_port)

    async def scenario() -> None:
        await create_topics(settings)
        handler = Handler()
        async with relaying(handler) as relay, receiving(echo, tls=tls) as receiver:
            report = Process(tmp_path / "report.log", common | of_report, "report")
            of_notify = {
                "TES_NOTIFY_PORT": str(notify_port),
                "TES_REPORT_PUBLIC_URL": f"http://127.0.0.1:{api_port}",
                "TES_NOTIFY_SMTP_HOST": relay.host,
                "TES_NOTIFY_SMTP_PORT": str(relay.port),
                "TES_NOTIFY_SMTP_TLS": "none",
                "TES_NOTIFY_MAIL_FROM": "tes@notices.example",
                "TES_NOTIFY_BOUNCE_DOMAIN": "bounces.example",
                "TES_NOTIFY_ALLOWED_NETWORKS": "127.0.0.0/8",
                "TES_NOTIFY_SIGNING_KEY_FILE": str(key_file),
                "SSL_CERT_FILE": str(authority.file),
            }
            notify = Process(tmp_path / "notify.log", common | of_notify, "notify")
            await asyncio.to_thread(report.until_ready, report_port)
            await asyncio.to_thread(notify.until_ready, notify_port)
            async with signed_in(api_port, "tenant-admin", TENANT) as browser:
                api = Api(browser, token_in(await text_of(browser, "/pauses/new")))
                hook = await tell(settings, api, handler, receiver)
                await send_test(hook, common, receiver)
            assert await asyncio.to_thread(notify.end) == 0, notify.log
            assert await asyncio.to_thread(report.end) == 0, report.log

    asyncio.run(scenario())
