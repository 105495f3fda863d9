"""Two replicas of `tes notify` killed at random under load: nothing is lost, and what comes twice can be told."""

from __future__ import annotations

import asyncio
import random
import re
import signal
from collections import Counter
from collections.abc import Iterable
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiohttp import web

from streams.clock import wall_clock_ms
from streams.database.database import Database
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.notices.destinations import confirm, create_destination
from streams.notices.facts import begin
from streams.notices.model import DestinationKind, Subscription
from streams.notices.opening import open_ledger
from streams.notices.subscriptions import create_subscription
from streams.notices.tables import DELIVERY, NOTICE
from streams.notify.channels.cloud_event import DIGEST_TYPE, NOTICE_TYPE
from streams.settings.database import DatabaseSettings
from streams.settings.worker import Settings
from tests.support.mail_relays import Handler, relaying
from tests.support.notice_receivers import Received, receiving
from tests.support.notices import encoded, notification, rows_of
from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.waiting import until_true

TENANTS = 12
NOTICES = 600
KILLS = 4
IN_FLIGHT = 8
GROUP_ABOVE = 100
"""Nothing comes to it: each notice is one message."""
SEED = 20_261_130
SECONDS = 180.0


def add_destinations(database: Database, hook: str) -> None:
    """Each tenant has a webhook and a mailbox that are told of everything at once."""
    now = wall_clock_ms()
    begin(database, now)
    with database.writing() as connection:
        for number in range(TENANTS):
            tenant = f"t{number}"
            ways = {DestinationKind.WEBHOOK: f"{hook}/{tenant}", DestinationKind.MAIL: f"admin@{tenant}.example"}
            for kind, address in ways.items():
                about = {"tenant": tenant, "kind": kind, "name": "Admins", "address": address, "created_by": "test"}
                made = create_destination(connection, now=now, **about)  # type: ignore[arg-type]
                confirm(connection, tenant, made.destination_id, now)
                create_subscription(connection, Subscription(tenant, "", made.destination_id), now, "test")


async def write(settings: Settings, numbers: Iterable[int]) -> None:
    """Write notifications of all tenants in turn."""
    producer = cluster_of(settings).producer(acks="all")
    await producer.start()
    try:
        topic = settings.topic(TOPICS["admin_notification"])
        for number in numbers:
            tenant, server = f"t{number % TENANTS}", f"mx{number}.example"
            record = notification(number, tenant_id=tenant, server=server, occurred_at=wall_clock_ms())
            await producer.send(topic, encoded(record), key=tenant.encode(), partition=number % 3)
        await producer.flush()
    finally:
        await producer.stop()


class Replicas:
    """Processes that are killed and started again."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._folder, self._variables = folder, variables
        self.processes = [self._start(number) for number in range(2)]

    def _start(self, number: int) -> Process:
        log = self._folder / f"notify-{number}.log"
        return Process(log, {**self._variables, "TES_NOTIFY_PORT": str(free_port())}, "notify")

    def kill(self, number: int) -> None:
        """End one as a crash would, and start it again."""
        assert self.processes[number].end(signal.SIGKILL) == -signal.SIGKILL, self.processes[number].log
        self.processes[number] = self._start(number)


def told_by_webhooks(received: Iterable[Received]) -> list[tuple[str, tuple[str, ...]]]:
    """The id of each message that came, and the notices in it."""
    found = []
    for one in received:
        data, kind = one.event["data"], one.event["type"]
        if kind in (NOTICE_TYPE, DIGEST_TYPE):
            notices = data["notices"] if kind == DIGEST_TYPE else [data]
            found.append((one.headers["webhook-id"], tuple(notice["notification_id"] for notice in notices)))
    return found


def told_by_mails(letters: Iterable[EmailMessage]) -> list[tuple[str, tuple[str, ...]]]:
    """The id of each mail that came, and the servers that it names, as notices."""
    found = []
    for letter in letters:
        plain = letter.get_body(("plain",))
        assert plain is not None
        servers = dict.fromkeys(re.findall(r"mx(\d+)\.example", plain.get_content()))
        found.append((letter["Message-ID"], tuple(f"n{number}" for number in servers)))
    return found


def check(told: list[tuple[str, tuple[str, ...]]], expected: set[str]) -> int:
    """Nothing is lost, and no notice is in two messages; returns how many messages came again."""
    assert {notice for _, notices in told for notice in notices} == expected
    held: dict[str, set[str]] = {}
    for message_id, notices in told:
        for notice in notices:
            held.setdefault(notice, set()).add(message_id)
    assert {notice: ids for notice, ids in held.items() if len(ids) > 1} == {}
    assert len({(message_id, notices) for message_id, notices in told}) == len({message_id for message_id, _ in told})
    return sum(count - 1 for count in Counter(message_id for message_id, _ in told).values())


@pytest.mark.timeout(480)
@pytest.mark.database
@pytest.mark.parametrize("ledger_settings", ["postgresql"], indirect=True)
def test_replicas_that_are_killed_lose_nothing_and_repeat_under_the_same_ids(
    settings: Settings, ledger_settings: DatabaseSettings, tmp_path: Path
) -> None:
    database = open_ledger(ledger_settings)
    database.migrate()
    chance = random.Random(SEED)
    own = {name: value for name, value in ledger_settings.environment().items() if name.startswith("TES_REPORT_")}

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.02)  # so that a kill meets some under way
        return web.Response(status=204)

    async def slow() -> str:
        await asyncio.sleep(0.02)
        return "250 2.0.0 Ok"

    async def is_over() -> bool:
        rows = await asyncio.to_thread(rows_of, database, DELIVERY)
        return len(rows) == 2 * NOTICES and all(row["ended_at"] is not None for row in rows)

    async def scenario() -> tuple[list[Received], Handler]:
        await create_topics(settings)
        handler = Handler(data=slow)
        async with relaying(handler) as relay, receiving(answer) as receiver:
            add_destinations(database, receiver.url)
            variables = {
                **own,
                "TES_KAFKA_BOOTSTRAP": settings.bootstrap,
                "TES_TOPIC_PREFIX": settings.topic_prefix,
                "TES_REPORT_PUBLIC_URL": "http://127.0.0.1:1",
                "TES_NOTIFY_SMTP_HOST": relay.host,
                "TES_NOTIFY_SMTP_PORT": str(relay.port),
                "TES_NOTIFY_SMTP_TLS": "none",
                "TES_NOTIFY_MAIL_FROM": "tes@notices.example",
                "TES_NOTIFY_ALLOWED_NETWORKS": "127.0.0.0/8",
                "TES_NOTIFY_IN_FLIGHT": str(IN_FLIGHT),
                "TES_NOTIFY_GROUP_ABOVE": str(GROUP_ABOVE),
            }
            replicas = await asyncio.to_thread(Replicas, tmp_path, variables)
            part = NOTICES // (KILLS + 1)
            for kill in range(KILLS):
                came = len(receiver.received) + len(handler.letters)
                await write(settings, range(kill * part, (kill + 1) * part))
                wanted = came + chance.randint(1, part)

                async def has_come(wanted: int = wanted) -> bool:
                    return len(receiver.received) + len(handler.letters) >= wanted

                await until_true(has_come, SECONDS)
                await asyncio.to_thread(replicas.kill, chance.randrange(2))
            await write(settings, range(KILLS * part, NOTICES))
            await until_true(is_over, SECONDS)
            for process in replicas.processes:
                assert await asyncio.to_thread(process.end) == 0, process.log
            return receiver.received, handler

    received, handler = asyncio.run(scenario())
    expected = {f"n{number}" for number in range(NOTICES)}
    assert {row["notification_id"] for row in rows_of(database, NOTICE)} == expected
    assert {row["state"] for row in rows_of(database, DELIVERY)} == {"SENT"}
    database.close()
    repeated = check(told_by_webhooks(received), expected) + check(told_by_mails(handler.letters), expected)
    # Of each lane in flight all that waited for it may have come and not been written down yet.
    assert repeated <= KILLS * IN_FLIGHT * (NOTICES // TENANTS // (KILLS + 1) + 1)
