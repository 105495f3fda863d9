"""Everything works over TLS with users, tokens and just the rights that the page on access names; nothing else does."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiokafka.conn import create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.fetch import FetchRequest

from streams.cli.main import main
from streams.engine.faust.app import EXIT_FAILED
from streams.kafka.cluster import ClusterError
from streams.kafka.preflight import check_access
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS, TopicError
from streams.operations.feeds import collect, produce_commands, produce_feed, run_workers, start_worker
from streams.settings.worker import Settings
from tests.support.access_page import Right, rights
from tests.support.feeds import UNTIL, make_commands, make_feed
from tests.support.secured_broker import USERS, Secured, allow, names_of
from tests.support.token_server import TokenServer, tokens, unsigned_token
from tests.support.worker_results import check


@pytest.fixture
def open_settings(secured: Secured, settings: Settings) -> Settings:
    """Over the listener that lets everybody do everything."""
    return replace(settings, bootstrap=secured.kafka.bootstrap)


@pytest.fixture
def bootstrap(secured: Secured) -> str:
    """Of the secured broker; no other one is needed here."""
    return secured.kafka.bootstrap


async def ended(settings: Settings, log: Path) -> tuple[int, str]:
    """Exit code and log of a worker."""
    with log.open("wb") as logs:
        code = await (await start_worker(settings, UNTIL, logs)).wait()
    return code, log.read_text()


def tes(settings: Settings, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    with monkeypatch.context() as patch:
        for name, value in settings.environment().items():
            patch.setenv(name, value)
        return main(list(words))


@pytest.mark.timeout(60)
def test_topics_that_others_made_are_taken_without_the_right_to_make_any(
    secured: Secured, open_settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tes(open_settings, monkeypatch, "topics", "create") == 0
    names = capsys.readouterr().out.split()
    seen = [Right("worker", "topic", one, "Describe") for one, name in names_of(open_settings).items() if name in names]
    asyncio.run(allow(open_settings, seen))
    assert tes(secured.scram(open_settings, "worker", kafka_mechanism="PLAIN"), monkeypatch, "topics", "create") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "not visible to this user: TopicAuthorizationFailedError" in said.err  # their settings


@pytest.mark.timeout(150)
def test_everybody_works_with_just_his_rights(
    secured: Secured, open_settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines, commands = make_feed(51), make_commands(51)
    way = partial(secured.scram, open_settings)
    once = Right("operator", "cluster", "kafka-cluster", "Create")
    asyncio.run(allow(open_settings, [*rights(), once]))
    assert tes(way("operator"), monkeypatch, "topics", "create") == 0
    asyncio.run(produce_feed(way("bridge", kafka_mechanism="SCRAM-SHA-256"), lines))
    asyncio.run(produce_commands(way("operator", kafka_mechanism="PLAIN"), commands))
    with (tmp_path / "worker.log").open("wb") as logs:
        asyncio.run(run_workers(way("worker"), UNTIL, 2, logs=logs))
    check(asyncio.run(collect(open_settings)), lines, commands)
    log = (tmp_path / "worker.log").read_text()
    assert "Authorization" not in log
    assert not [password for password in USERS.values() if password in log]
    publish = ("policy", "publish", "strict-critical", "--effective-at", "2090-01-01")
    assert tes(way("operator"), monkeypatch, *publish) == 0
    assert tes(way("operator"), monkeypatch, "servers", "list") == 0

    verdicts = open_settings.topic(TOPICS["verdict"])

    async def edge() -> dict[bytes, bytes]:
        """The table that every host has: all partitions from their beginning, without a group."""
        table: dict[bytes, bytes] = {}
        async for record in read_settled(cluster_of(way("edge")), verdicts):
            if record.value is None:
                table.pop(record.key, None)
            else:
                table[record.key] = record.value
        return table

    async def edge_in_a_group() -> None:
        consumer = cluster_of(way("edge")).consumer(group_id=f"{open_settings.app_id}-edge")
        consumer.subscribe([verdicts])
        async with consumer:
            await consumer.getone()

    table = asyncio.run(edge())
    rows = {f"{row['tenant_id']}/{row['server']}".encode() for row in asyncio.run(collect(open_settings)).verdicts}
    assert set(table) == rows
    with pytest.raises(GroupAuthorizationFailedError):
        asyncio.run(edge_in_a_group())
    asyncio.run(produce_feed(way("edge"), lines[:1]))
    with pytest.raises(TopicAuthorizationFailedError):
        asyncio.run(produce_commands(way("edge"), commands[:1]))

    monkeypatch.setenv("TES_REPORT_DIR", str(tmp_path / "report"))
    for words in (("report", "rebuild"), ("report", "check"), ("policy", "list")):
        assert tes(way("report"), monkeypatch, *words) == 0
    asyncio.run(produce_commands(way("report"), commands[:1]))
    with pytest.raises(TopicAuthorizationFailedError):
        asyncio.run(produce_feed(way("report"), lines[:1]))

    async def told() -> list[bytes | None]:
        """What the process that tells people reads."""
        topics = [open_settings.topic(TOPICS[name]) for name in ("admin_notification", "connector")]
        cluster = cluster_of(way("notify"))
        return [record.key for topic in topics async for record in read_settled(cluster, topic)]

    assert asyncio.run(told())
    # Who may write nowhere does not even get a producer's id.
    with pytest.raises(ClusterAuthorizationFailedError):
        asyncio.run(produce_commands(way("notify"), commands[:1]))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("gone", ["enforcement.verdicts.v1", "tes", "tes-transport.connections.v1-*"])
def test_a_worker_without_a_right_ends_and_names_what_it_lacks(
    secured: Secured, open_settings: Settings, tmp_path: Path, gone: str
) -> None:
    async def scenario() -> tuple[int, str]:
        await create_topics(open_settings)
        await allow(open_settings, [right for right in rights() if right.who == "worker" and right.name != gone])
        return await ended(secured.scram(open_settings, "worker"), tmp_path / "log")

    code, log = asyncio.run(scenario())
    assert code == EXIT_FAILED
    assert any("uthoriz" in line and names_of(open_settings)[gone] in line for line in log.splitlines())


def test_a_topic_that_a_worker_may_not_see_is_named_before_it_starts(secured: Secured, open_settings: Settings) -> None:
    mine = [right for right in rights() if right.who == "worker"]
    topics = sorted({right.name for right in mine if right.kind == "topic"})
    settings = secured.scram(open_settings, "worker")

    async def scenario() -> None:
        await create_topics(open_settings)
        for name in topics:
            with pytest.raises(TopicError) as refused:
                await check_access(settings)
            assert "TopicAuthorizationFailedError" in str(refused.value)
            assert any(str(refused.value).startswith(names_of(open_settings)[other]) for other in topics)
            await allow(open_settings, [right for right in mine if right.name == name])
        with pytest.raises(TopicError, match=f"^group {open_settings.app_id}: GroupAuthorizationFailedError$"):
            await check_access(settings)
        await allow(open_settings, [right for right in mine if right.kind == "group"])
        await check_access(settings)

    asyncio.run(scenario())


WAYS_THAT_FAIL = {
    "wrong password": ("SaslAuthenticationFailed", {"kafka_password_file": "", "kafka_password": "wrong-s3cret"}),
    "wrong password of PLAIN": (
        "SaslAuthenticationFailed",
        {"kafka_mechanism": "PLAIN", "kafka_password_file": "", "kafka_password": "wrong-s3cret"},
    ),
    "unknown user": ("SaslAuthenticationFailed", {"kafka_user": "nobody"}),
    "untrusted authority": ("certificate verify failed", {"kafka_ca_file": ""}),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", WAYS_THAT_FAIL)
def test_who_is_not_let_in_is_told_why(
    secured: Secured,
    open_settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
) -> None:
    said, changed = WAYS_THAT_FAIL[name]
    settings = secured.scram(open_settings, "worker", **changed)
    code, log = asyncio.run(ended(settings, tmp_path / "log"))
    assert code == EXIT_FAILED
    reasons = [line for line in log.splitlines() if "worker failed to start: ClusterError: " in line]
    assert len(reasons) == 1
    assert said in reasons[0]
    assert settings.bootstrap in reasons[0]
    assert "Traceback" not in log
    assert "Unclosed" not in log
    assert tes(settings, monkeypatch, "topics", "create") == 1
    told = capfd.readouterr().err
    assert said in told.splitlines()[-1]
    assert not [secret for secret in (*USERS.values(), "wrong-s3cret") if secret in log + told]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("source", ["file", "endpoint"])
def test_a_worker_logs_in_with_tokens(secured: Secured, open_settings: Settings, tmp_path: Path, source: str) -> None:
    lines, token = make_feed(53, 200), unsigned_token("worker")
    asyncio.run(allow(open_settings, rights()))

    async def scenario(settings: Settings) -> str:
        await create_topics(open_settings)
        await produce_feed(open_settings, lines)
        code, log = await ended(settings, tmp_path / "log")
        assert code == 0
        check(await collect(open_settings), lines, [])
        return log

    if source == "file":
        (tmp_path / "token").write_text(token)
        log = asyncio.run(scenario(secured.oauth(open_settings, kafka_token_file=str(tmp_path / "token"))))
    else:
        certificate, _ = secured.authority.certificate("identity")
        with TokenServer(certificate, tokens({"access_token": token, "expires_in": 600})) as server:
            endpoint = {"kafka_token_url": server.url, "kafka_token_ca_file": str(secured.authority.file)}
            client = {"kafka_client_id": "tes", "kafka_client_secret": "client-s3cret"}
            log = asyncio.run(scenario(secured.oauth(open_settings, **endpoint, **client)))
            assert 1 <= len(server.asked) <= 3
    assert token not in log
    assert "client-s3cret" not in log


@pytest.mark.timeout(15)
def test_a_connection_ends_although_a_request_of_it_waits_at_the_broker(
    secured: Secured, open_settings: Settings
) -> None:
    cluster, topic = cluster_of(secured.scram(open_settings, "edge")), open_settings.topic(TOPICS["verdict"])

    async def scenario() -> None:
        await create_topics(open_settings)
        await allow(open_settings, (right for right in rights() if right.who == "edge"))
        host, _, port = cluster.bootstrap.partition(":")
        connection = await create_conn(host, int(port), **cluster.security)
        a_minute, places = 60_000, [(topic, [(0, 0, 1 << 20)])]
        waiting = asyncio.ensure_future(connection.send(FetchRequest(a_minute, 1, 1 << 20, 0, places)))
        await connection.close()
        with pytest.raises(KafkaConnectionError):
            await waiting

    asyncio.run(scenario())


def test_a_token_file_is_read_anew_for_every_connection(
    secured: Secured, open_settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(unsigned_token("worker", seconds=-3600))
    cluster = cluster_of(secured.oauth(open_settings, kafka_token_file=str(file)))

    async def start() -> None:
        admin = cluster.admin()
        try:
            await admin.start()
        finally:
            await admin.close()

    with pytest.raises(ClusterError, match="SaslAuthenticationFailed"):
        asyncio.run(start())
    file.write_text(unsigned_token("worker"))
    asyncio.run(start())
    file.unlink()
    with pytest.raises(ClusterError, match=r"token: must be readable: No such file"):
        asyncio.run(start())


def test_a_client_certificate_is_shown(secured: Secured, open_settings: Settings) -> None:
    certificate, key = secured.authority.certificate("edge")
    settings = replace(
        open_settings,
        bootstrap=secured.kafka.bootstrap_of("SSL"),
        kafka_protocol="SSL",
        kafka_ca_file=str(secured.authority.file),
        kafka_certificate_file=str(certificate),
        kafka_key_file=str(key),
    )

    async def read(settings: Settings) -> list[Any]:
        return [record async for record in read_settled(cluster_of(settings), settings.topic(TOPICS["verdict"]))]

    asyncio.run(create_topics(open_settings))
    asyncio.run(allow(open_settings, (right for right in rights() if right.who == "edge"), "User:CN={}"))
    assert asyncio.run(read(settings)) == []
    with pytest.raises(ClusterError):
        asyncio.run(read(replace(settings, kafka_certificate_file="", kafka_key_file="")))


@pytest.mark.parametrize("protocol", ["SASL_SSL", "SASL_PLAINTEXT", "PLAIN", "OAUTHBEARER"])
def test_debug_logs_hold_no_secret(
    secured: Secured, open_settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    token = unsigned_token("worker")
    (tmp_path / "token").write_text(token)
    if protocol == "OAUTHBEARER":
        settings = secured.oauth(open_settings, kafka_token_file=str(tmp_path / "token"))
    else:
        listener = "SASL_SSL" if protocol == "SASL_SSL" else "SASL_PLAINTEXT"
        changed = {} if listener == "SASL_SSL" else {"kafka_protocol": listener, "kafka_ca_file": ""}
        changed |= {"kafka_mechanism": "PLAIN"} if protocol == "PLAIN" else {}
        settings = secured.scram(open_settings, "operator", **changed, bootstrap=secured.kafka.bootstrap_of(listener))

    async def use() -> None:
        admin, producer = cluster_of(settings).admin(), cluster_of(settings).producer()
        async with producer:
            await admin.start()
            await admin.list_topics()
            await admin.close()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(use(), debug=True)
    assert "Request to 127.0.0.1" in caplog.text
    assert "<SaslAuthenticateRequest_v" in caplog.text
    assert "MetadataRequest" in caplog.text
    assert not [word for word in (*USERS.values(), token, "auth=Bearer", "c=biws") if word in caplog.text]
