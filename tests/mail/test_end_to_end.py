"""From a real client through Postfix, the edge, Kafka and a worker, and back as an answer to the client."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from streams.domain.edge import hour_offset, minute_action
from streams.domain.keys import ServerKey
from streams.domain.policy.ladder import Action
from streams.domain.time import DAY_MS, iso
from tests.support.certificates import Authority
from tests.support.edge_files import waiting_ids
from tests.support.mail import GOOD, OLD, RECIPIENT, SENDER, Client
from tests.support.mail_chain import Chain, tenants_of
from tests.support.mail_queue import Queued, deliveries, queued_message
from tests.support.mail_site import MailSite, Tenant, until
from tests.support.old_servers import BLOCKED_DAYS, host_in_minutes, new_host
from tests.support.postfix import Postfix

ACCEPTED = re.compile(r"250 2\.0\.0 Ok: (?:\d+ bytes )?queued as \w+")
SAID = "Connecting Exchange server version is out-of-date; connection to Exchange Online"
"""Microsoft's words."""
LINK = "https://aka.ms/BlockUnsafeExchange"
BLOCK_STAGE, MIXED_RATES_STAGE = 8, 7
"""The last stages of the ladder: blocked all the time; throttled 30 minutes and blocked 20, from day 80 on."""
MIXED_RATES_DAYS = 81
PROBE_MINUTES = "0.1"
"""A refused client shows its headers again within this time, so that a test can wait for it."""
IPV6_CLIENT = "2001:db8:0:1::5"
NORTH, SOUTH = "mail.north.example", "mail.south.example"
TENANTS = tenants_of(
    *("first", "ladder", "patched", "paused", "gateway", "north", "south", "modern", "early", "outage"),
    queue=Tenant("queue", ("127.0.0.0/8",)),
    six=Tenant("six", ("2001:db8:0:1::/64",)),
    by_name_north=Tenant("by-name-north", subjects=(NORTH,)),
    by_name_south=Tenant("by-name-south", subjects=(SOUTH,)),
)
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs the certificates of clients and of the server."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def chain(postfix: Postfix, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Every process there is, and a port of Postfix that asks the edge."""
    milter = postfix.folder / "sockets" / "edge"
    folder = tmp_path_factory.mktemp("site")
    with MailSite(folder, milter, TENANTS.values(), TES_EDGE_PROBE_MINUTES=PROBE_MINUTES) as site:
        certificate, key = authority.certificate("frontend.test.invalid")
        port = postfix.listen(
            milter,
            smtpd_tls_security_level="may",
            smtpd_tls_cert_file=str(certificate),
            smtpd_tls_key_file=str(key),
            smtpd_tls_ask_ccert="yes",
            smtpd_tls_CAfile=str(authority.file),
        )
        yield Chain(site, port, TENANTS)


@pytest.fixture(scope="module", autouse=True)
def queued(chain: Chain) -> Iterator[Queued]:
    """Send it before all other tests, since its free minutes take a while to come.

    Its own test is before the one that kills the door: what comes then is let in, and told to nobody.
    """
    with queued_message(chain, "queue") as message:
        yield message


@pytest.fixture(autouse=True)
def every_message_is_told_once(chain: Chain) -> Iterator[None]:
    """What a test sends has its events, with the outcomes that the client saw."""
    yield
    chain.assert_told()


def line(action: str, host: str, minutes: int, next_stage_at: int | None = None) -> str:
    """The whole reply for a server of the build `OLD`."""
    code, done = ("550 5.7.230", "blocked") if action == "block" else ("450 4.7.230", "throttled")
    following = "" if next_stage_at is None else f" Next stage {iso(next_stage_at)}."
    return (
        f"{code} {SAID} {done} for {minutes} mins/hr. {host} runs {OLD}, {GOOD} or newer is required.{following} {LINK}"
    )


def event_of(chain: Chain, message_id: str) -> dict[str, Any]:
    """The one event of a message, once it is there."""
    (event,) = until(lambda: chain.site.events(message_id))
    return event


def blocked_host(chain: Chain, tenant: str) -> str:
    """A server that is blocked all the time."""
    host = new_host()
    chain.old_server(tenant, host, BLOCKED_DAYS, BLOCK_STAGE)
    return host


def test_the_first_mail_of_an_old_server_is_told_and_its_verdict_comes_to_the_edge(chain: Chain) -> None:
    host, address = new_host(), chain.address("first")
    assert ACCEPTED.fullmatch(chain.swaks(address, host))
    (event,) = until(lambda: chain.told(host))
    known = {name: event[name] for name in ("tenant_id", "connector_id", "connector_type", "source_ip", "outcome")}
    assert known == {
        "tenant_id": "first",
        "connector_id": "inbound",
        "connector_type": "ON_PREMISES",
        "source_ip": address,
        "outcome": "ACCEPTED",
    }
    assert f"id {OLD};" in event["received"][0]
    at_edge = chain.site.until_stage("first", host, 1)
    (verdict,) = [row for row in chain.site.records("verdict") if row["server"] == host]
    assert (verdict["action"], verdict["detected_at"]) == ("ACCEPT", event["observed_at"])
    assert verdict["evidence"]["event_id"] == event["event_id"]
    assert [stage.starts_at for stage in at_edge.schedule][-1] == event["observed_at"] + 90 * DAY_MS


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(1, 10, ("block", 20)), (21, 40, ("throttle", 30)), (51, 52, None)],
    ids=["blocked", "throttled", "free"],
)
def test_the_minutes_of_a_stage_are_answered_as_microsoft_words_them(
    chain: Chain, first: int, last: int, expected: tuple[str, int] | None
) -> None:
    host = host_in_minutes("ladder", first, last)
    detected_at = chain.old_server("ladder", host, MIXED_RATES_DAYS, MIXED_RATES_STAGE)
    reply = chain.swaks(chain.address("ladder"), host)
    if expected is None:
        assert ACCEPTED.fullmatch(reply)
    else:
        assert reply == line(expected[0], host, expected[1], detected_at + 90 * DAY_MS)


def test_the_last_stage_blocks_and_a_patched_server_is_let_in_at_once_and_released(chain: Chain) -> None:
    host, address = blocked_host(chain, "patched"), chain.address("patched")
    assert chain.swaks(address, host) == line("block", host, 60)
    assert ACCEPTED.fullmatch(chain.swaks(address, host, GOOD))

    def released() -> list[dict[str, Any]]:
        verdicts = [row for row in chain.site.records("verdict") if row["server"] == host]
        return [row for row in verdicts if row["finding"] == "COMPLIANT"]

    (verdict,) = until(released)
    assert (verdict["action"], verdict["stage"], verdict["build"]) == ("ACCEPT", 0, GOOD)
    assert until(lambda: chain.site.verdict("patched", host) is None)


def test_a_pause_lets_mail_in_until_it_is_cancelled(chain: Chain) -> None:
    host, address = blocked_host(chain, "paused"), chain.address("paused")
    assert chain.swaks(address, host) == line("block", host, 60)
    for command, is_in in ((("create", "--days", "2"), True), (("cancel",), False)):
        done = chain.site.tes("pause", command[0], "--tenant", "paused", *command[1:], "--json")
        assert (done.returncode, json.loads(done.stdout)["outcome"]) == (0, "ACCEPTED"), done.stderr

        def is_known(wanted: bool = is_in) -> bool:
            verdict = chain.site.verdict("paused", host)
            return verdict is not None and (verdict.paused_until is not None) is wanted

        assert until(is_known)
        reply = chain.swaks(address, host)
        assert ACCEPTED.fullmatch(reply) if is_in else reply == line("block", host, 60)


@pytest.mark.parametrize("by", ["gw.example.net", None], ids=["of-its-own-name", "of-the-server's-name"])
def test_mail_that_a_gateway_passes_on_is_never_touched(chain: Chain, by: str | None) -> None:
    host, address = blocked_host(chain, "gateway"), chain.address("gateway")
    gateway = f"Received: from {host} ({host} [{address}])\r\n\tby {by or host} (Postfix) with ESMTPS id 4XyZ12\r\n"
    top = f"{gateway}\tfor <{RECIPIENT}>; Tue, 24 Nov 2026 04:00:01 +0000 (UTC)\r\n"
    assert chain.swaks(address, host) == line("block", host, 60)
    for _ in range(5):
        assert ACCEPTED.fullmatch(chain.swaks(address, host, before=top))


def test_of_two_tenants_with_a_host_of_the_same_name_only_the_vulnerable_one_is_blocked(chain: Chain) -> None:
    host = blocked_host(chain, "north")
    assert chain.swaks(chain.address("north"), host) == line("block", host, 60)
    assert ACCEPTED.fullmatch(chain.swaks(chain.address("south"), host))
    # The stranger's mail is mail of nobody, and is told to nobody.
    with chain.client("203.0.113.9", host) as client:
        message_id, message = chain.write(host)
        assert ACCEPTED.fullmatch(client.send_mail(message))
    assert ACCEPTED.fullmatch(chain.swaks(chain.address("south"), host))
    chain.assert_told()
    assert chain.site.events(message_id) == []


def test_a_client_certificate_says_whose_server_it_is(chain: Chain, authority: Authority) -> None:
    host = blocked_host(chain, "by-name-north")
    context = ssl.create_default_context(cafile=str(authority.file))
    context.check_hostname = False
    replies, tenants = [], []
    for subject in (NORTH, SOUTH):
        context.load_cert_chain(*authority.certificate(subject))
        with Client(chain.port, host) as client:
            client.starttls(context=context)
            client.ehlo(host)
            message_id, message = chain.write(host)
            replies.append(chain.note(message_id, client.send_mail(message)))
        event = event_of(chain, message_id)
        tenants.append((event["tenant_id"], event["tls_subject"]))
    assert replies[0] == line("block", host, 60)
    assert ACCEPTED.fullmatch(replies[1])
    assert tenants == [("by-name-north", NORTH), ("by-name-south", SOUTH)]


def test_a_client_of_ipv6_is_blocked_and_told(chain: Chain) -> None:
    host = blocked_host(chain, "six")
    assert chain.swaks(f"IPV6:{IPV6_CLIENT}", host) == line("block", host, 60)
    (event,) = until(lambda: chain.told(host))
    assert event["source_ip"] == IPV6_CLIENT


@pytest.fixture(scope="module")
def modern(chain: Chain) -> str:
    """A server that is blocked all the time, for tests that send in another way each."""
    return blocked_host(chain, "modern")


def test_addresses_and_headers_beyond_ascii_are_blocked_and_told(chain: Chain, modern: str) -> None:
    with chain.client(chain.address("modern"), modern) as client:
        client.command_encoding = "utf-8"
        message_id, message = chain.write(modern, subject="größer")
        assert client.give("MAIL FROM:<größe@example.com> SMTPUTF8")[0] == "2"
        assert client.give("RCPT TO:<ß@inbox.example>")[0] == "2"
        assert chain.note(message_id, client.finish(message)) == line("block", modern, 60)


def test_a_message_in_chunks_is_blocked_and_told(chain: Chain, modern: str) -> None:
    with chain.client(chain.address("modern"), modern) as client:
        message_id, message = chain.write(modern)
        assert [client.give(f"MAIL FROM:<{SENDER}>")[0], client.give(f"RCPT TO:<{RECIPIENT}>")[0]] == ["2", "2"]
        # The first ends within the line that decides.
        *_, last = client.send_chunks(message[:100], message[100:])
        assert chain.note(message_id, last) == line("block", modern, 60)


def test_ten_thousand_lines_of_headers_hide_nothing(chain: Chain, modern: str) -> None:
    lines = "Received: from a by b.example with SMTP; Tue, 24 Nov 2026 04:00:00 +0000\r\n" * 5_000
    with chain.client(chain.address("modern"), modern) as client:
        message_id, message = chain.write(modern, before="X-Junk: x\r\n" * 5_000)
        message = message.replace(b"From:", lines.encode() + b"From:", 1)
        assert chain.note(message_id, client.send_mail(message)) == line("block", modern, 60)
    assert len(event_of(chain, message_id)["received"]) == 256


def test_messages_that_come_all_at_once_are_answered_and_told_each_on_its_own(chain: Chain, modern: str) -> None:
    sent, ids, commands = [], [], f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode()
    for host in (modern, new_host(), modern):
        message_id, message = chain.write(host)
        ids.append(message_id)
        sent += [commands, message, b".\r\n"]
    with chain.client(chain.address("modern"), modern) as client:
        replies = client.send_at_once(*sent, b"QUIT\r\n")
    ends = [reply for reply in replies if not reply.startswith(("250 2.1", "354", "221"))]
    assert [chain.note(*pair)[:3] for pair in zip(ids, ends, strict=True)] == ["550", "250", "550"]
    assert [ends[0], ends[2]] == [line("block", modern, 60)] * 2


def test_a_client_that_hangs_within_its_message_delays_nobody_and_is_told_of_when_it_goes_on(
    chain: Chain, modern: str
) -> None:
    address = chain.address("modern")
    with chain.client(chain.address("modern"), modern) as hanging:
        message_id, message = chain.write(modern)
        for command in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>", "DATA"):
            assert hanging.give(command)[0] in "23"
        hanging.send(message[:150])
        assert chain.swaks(address, modern) == line("block", modern, 60)
        hanging.send(message[150:] + b".\r\n")
        assert chain.note(message_id, hanging.reply()) == line("block", modern, 60)
    # And one that never goes on is no message, and not told.
    with chain.client(address, modern) as gone:
        never, message = chain.write(modern)
        for command in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>", "DATA"):
            assert gone.give(command)[0] in "23"
        gone.send(message[:150])
        gone.close()
    assert chain.swaks(address, modern) == line("block", modern, 60)
    chain.assert_told()
    assert chain.site.events(never) == []


def test_answers_at_mail_are_counted_by_the_event_of_the_client_and_the_report_of_the_server(chain: Chain) -> None:
    host, address = blocked_host(chain, "early"), chain.address("early")
    answered_early = answered_late = 0
    is_in = False
    while not is_in:
        # Once it is answered at MAIL, it tries its new build, and shows it within the probe window.
        with chain.client(address, host) as client:
            reply = chain.submit(client, host, GOOD if answered_early else OLD)
        is_in = reply[0] == "2"
        if not is_in:
            assert reply == line("block", host, 60)
            was_early = chain.is_answered_at_mail
            answered_early, answered_late = answered_early + was_early, answered_late + (not was_early)
            time.sleep(0.05)
    assert answered_early > 0
    assert answered_late >= 3

    def refused_before() -> int:
        return sum(event["refused_before"] for event in chain.told(host))

    assert until(refused_before) == answered_early

    def released() -> dict[str, Any] | None:
        rows = [row for row in chain.site.records("server_report") if row["server"] == host]
        return rows[-1] if rows[-1]["status"] == "RESOLVED" else None

    report = until(released)
    counts = {name: report[name] for name in ("accepted", "deferred", "rejected")}
    assert counts == {"accepted": 1, "deferred": 0, "rejected": answered_early + answered_late}


def test_mail_that_waits_in_the_queue_of_its_server_comes_in_its_free_minutes(
    chain: Chain, postfix: Postfix, queued: Queued
) -> None:
    wanted = f"Message-Id: {queued.message_id}".lower().encode()
    until(lambda: any(wanted in message.lower() for message in postfix.inbox), 240)
    tries = deliveries(queued.sender, queued.message_id)
    said = line("throttle", queued.host, 5, queued.since + 40 * DAY_MS)
    assert all(f"said: {said} (in reply to " in entry for entry in tries[:-1])
    assert "status=sent" in tries[-1]
    offset = hour_offset(ServerKey("queue", queued.host))
    outcomes = {Action.THROTTLE: "DEFERRED", Action.ACCEPT: "ACCEPTED"}
    events = until(lambda: by_outcome(chain, queued.message_id, "ACCEPTED"))
    for event in events:
        assert event["outcome"] == outcomes[minute_action(offset, 5, 0, event["observed_at"])]
    assert [event["outcome"] for event in events[:-1]] == ["DEFERRED"] * (len(events) - 1)
    # Each try was told, or counted by a later one.
    assert len(events) + sum(event["refused_before"] for event in events) == len(tries)


def by_outcome(chain: Chain, message_id: str, last: str) -> list[dict[str, Any]]:
    """The events of a message in order of time, once the newest has this outcome."""
    events = sorted(chain.site.events(message_id), key=lambda event: int(event["observed_at"]))
    return events if events and events[-1]["outcome"] == last else []


def test_without_kafka_and_worker_mail_is_answered_from_disk_and_told_when_they_are_back(chain: Chain) -> None:
    site = chain.site
    blocked, patched = blocked_host(chain, "outage"), blocked_host(chain, "outage")
    throttled = host_in_minutes("outage", 21, 40)
    since = chain.old_server("outage", throttled, MIXED_RATES_DAYS, MIXED_RATES_STAGE)
    waiting = dict.fromkeys(waiting_ids(site.edge_folder))
    expected = {
        blocked: line("block", blocked, 60),
        throttled: line("throttle", throttled, 30, since + 90 * DAY_MS),
    }

    def send_some() -> None:
        for host, reply in expected.items():
            assert chain.swaks(chain.address("outage"), host) == reply
        assert ACCEPTED.fullmatch(chain.swaks(chain.address("outage"), patched, GOOD))
        waiting.update(dict.fromkeys(waiting_ids(site.edge_folder)))

    assert site.end("worker") == 0
    # First it hangs, then it is dead.
    os.kill(site.kafka.pid, signal.SIGSTOP)
    send_some()
    site.kafka.kill()
    send_some()
    site.end("door", signal.SIGKILL)
    site.start("door")
    site.until_ready("door")
    send_some()
    assert len(waiting) >= 9
    site.kafka.start()
    site.start("worker")
    chain.assert_told()
    assert until(lambda: not waiting_ids(site.edge_folder))
    told = {row["event_id"] for row in site.records("inbound_connection")}
    assert told >= waiting.keys()
    # And what was told is judged.
    assert until(lambda: site.verdict("outage", patched) is None)
    assert ACCEPTED.fullmatch(chain.swaks(chain.address("outage"), patched, GOOD))
