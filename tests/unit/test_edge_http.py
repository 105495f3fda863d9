"""The HTTP door: what it answers, what it refuses, and that its own faults never stop mail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from streams.domain.edge import Cause
from streams.domain.policy.policy import ConnectorType
from streams.edge.client import Connector
from streams.edge.http.answers import FAILED, UNMATCHED, UNSEEN
from streams.edge.http.connection import MAX_BODY_BYTES
from streams.edge.http.openapi import ANSWER, CLIENT, MESSAGE, document
from streams.edge.http.requests import RequestError, read_client, read_message
from streams.edge.http.server import HttpServer
from streams.listening import ListenError
from streams.settings.addresses import ListenAddress, parse_address
from tests.support.door import Doorway, standing_verdict
from tests.support.metrics_page import REPOSITORY
from tests.support.waiting import until_true

HOST, OLD = "mx1.example.com", "15.1.2507.39"
LINE = f"from a by {HOST} (192.0.2.1) with Microsoft SMTP Server id {OLD}; Tue, 1 Sep 2026 00:00:00 +0000"
MESSAGE_OF_OLD: dict[str, Any] = {"source_ip": "192.0.2.1", "helo": HOST, "received": [LINE], "queue_id": "4XyZ"}
LOOPBACK = ListenAddress(None, "127.0.0.1")
Asking = Callable[[aiohttp.ClientSession, str], Awaitable[None]]


@dataclass
class Counts:
    """What the HTTP door told."""

    open: int = 0
    opened_in_all: int = 0
    turned: int = 0
    statuses: list[int] = field(default_factory=list)
    failures: list[tuple[str, Exception]] = field(default_factory=list)

    def opened(self) -> None:
        self.open += 1
        self.opened_in_all += 1

    def closed(self) -> None:
        self.open -= 1

    def turned_away(self) -> None:
        self.turned += 1

    def refused(self, status: int) -> None:
        self.statuses.append(int(status))

    def failed(self, where: str, error: Exception) -> None:
        self.failures.append((where, error))


async def until(condition: Callable[[], bool]) -> None:
    async def is_true() -> bool:
        return condition()

    await until_true(is_true)


def blocked(**options: bool) -> Doorway:
    doorway = Doorway(**options)
    doorway.verdicts.put(standing_verdict(HOST))
    return doorway


def serve(doorway: Doorway, asking: Asking, counts: Counts | None = None, **options: int) -> None:
    async def run() -> None:
        server = HttpServer(doorway.door, counts or Counts(), **options)
        await server.start(LOOPBACK)
        try:
            async with aiohttp.ClientSession() as session:
                await asking(session, f"http://127.0.0.1:{server.port}")
        finally:
            await server.stop()

    asyncio.run(run())


def ask(doorway: Doorway, body: Any, path: str = "/v1/decide", counts: Counts | None = None) -> tuple[int, Any]:
    found = list[tuple[int, Any]]()

    async def asking(session: aiohttp.ClientSession, url: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with session.post(url + path, data=data, headers={"Content-Type": "application/json"}) as answer:
            found.append((answer.status, json.loads(await answer.read())))

    serve(doorway, asking, counts)
    return found[0]


def test_a_blocked_message_is_refused_with_the_parts_of_its_reply() -> None:
    doorway = blocked()
    status, answer = ask(doorway, MESSAGE_OF_OLD)
    assert status == 200
    assert answer == {
        "action": "reject",
        "code": 550,
        "enhanced_code": "5.7.230",
        "text": "no",
        "reply": "550 5.7.230 no",
        "cause": "BLOCKED",
        "event_id": doorway.told[0].event_id,
        "header": None,
    }


def test_a_throttled_message_is_delayed() -> None:
    doorway = Doorway()
    doorway.verdicts.put(standing_verdict(HOST, throttle_minutes_per_hour=60, block_minutes_per_hour=0))
    _, answer = ask(doorway, MESSAGE_OF_OLD)
    assert (answer["action"], answer["code"], answer["text"]) == ("defer", 450, "later 60")


def test_report_mode_accepts_and_says_why_it_would_not_have() -> None:
    _, answer = ask(blocked(is_enforcing=False, adds_header=True), MESSAGE_OF_OLD)
    assert (answer["action"], answer["reply"], answer["cause"]) == ("accept", None, "BLOCKED")
    assert answer["header"].startswith("action=BLOCK; cause=BLOCKED; build=15.1.2507.39; event=")


def test_mail_that_comes_through_no_connector_is_accepted_and_not_told() -> None:
    doorway = blocked()
    doorway.connectors.connector = None
    assert ask(doorway, {"source_ip": "192.0.2.1"}, "/v1/decide-mail")[1]["cause"] == UNMATCHED
    assert ask(doorway, MESSAGE_OF_OLD)[1]["cause"] == UNMATCHED
    assert doorway.telemetry.unmatched_messages == 1
    assert not doorway.told


def test_an_mta_may_say_itself_whose_mail_it_is() -> None:
    doorway = blocked()
    doorway.connectors.connector = None
    own = {"tenant_id": "contoso", "connector_id": "in", "connector_type": "PARTNER"}
    assert ask(doorway, MESSAGE_OF_OLD | own)[1]["cause"] == "BLOCKED"
    assert (doorway.told[0].connector_id, doorway.told[0].connector_type) == ("in", ConnectorType.PARTNER)


def test_a_client_is_answered_at_mail_once_its_last_messages_were_refused() -> None:
    doorway = blocked()
    client = {"source_ip": "192.0.2.1", "helo": HOST}
    found = list[Any]()

    async def asking(session: aiohttp.ClientSession, url: str) -> None:
        for _ in range(3):
            for path, body in (("/v1/decide-mail", client), ("/v1/decide", MESSAGE_OF_OLD)):
                async with session.post(url + path, json=body) as answer:
                    found.append(await answer.json())
        async with session.post(f"{url}/v1/decide-mail", json=client) as answer:
            found.append(await answer.json())

    serve(doorway, asking)
    assert [answer["cause"] for answer in found] == [UNSEEN, "BLOCKED"] * 3 + ["BLOCKED"]
    assert (found[-1]["reply"], found[-1]["event_id"]) == ("550 5.7.230 no", None)


@pytest.mark.parametrize(
    ("changed", "field_name", "value", "rule"),
    [
        ({"source_ip": None}, "source_ip", "None", "must be an IPv4 or IPv6 address"),
        ({"source_ip": "mx1"}, "source_ip", "mx1", "must be an IPv4 or IPv6 address"),
        ({"helo": 5}, "helo", "5", "must be text"),
        ({"colour": "r\x1bd"}, "colour", "r\x1bd", "unknown; known are"),
        ({"received": "from a"}, "received", "from a", "must be a list of texts"),
        ({"received": [5]}, "received", "[5]", "must be a list of texts"),
        ({"received": None}, "received", "None", "must be a list of texts"),
        ({"recipients": -1}, "recipients", "-1", "must be a number, 0 to"),
        ({"recipients": True}, "recipients", "True", "must be a number, 0 to"),
        ({"recipients": 1 << 31}, "recipients", "2147483648", "must be a number, 0 to"),
        ({"message_id": 5}, "message_id", "5", "must be text or null"),
        ({"queue_id": []}, "queue_id", "[]", "must be text or null"),
        ({"tls_subject": 5}, "tls_subject", "5", "must be text or null"),
        ({"tls_fingerprint": "ab"}, "tls_fingerprint", "ab", "64 hexadecimal digits"),
        ({"tenant_id": "contoso"}, "connector_id", "None", "must go with tenant_id"),
        ({"connector_id": "in"}, "tenant_id", "None", "must go with connector_id"),
        ({"connector_type": "PARTNER"}, "connector_type", "PARTNER", "must go with tenant_id and connector_id"),
        ({"tenant_id": "a b", "connector_id": "in"}, "tenant_id", "a b", "must match"),
        ({"tenant_id": "a", "connector_id": ""}, "connector_id", "", "must be 1 to 255 printable characters"),
        ({"tenant_id": "a", "connector_id": "b", "connector_type": "NONE"}, "connector_type", "NONE", "must be one of"),
    ],
)
def test_a_wrong_field_is_named_with_its_value_and_rule(
    changed: dict[str, Any], field_name: str, value: str, rule: str
) -> None:
    with pytest.raises(RequestError) as refused:
        read_message(json.dumps(MESSAGE_OF_OLD | changed).encode())
    (error,) = refused.value.errors
    assert (error.field, error.value) == (field_name, value)
    assert rule in error.rule


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"helo":"\\ud800"}', b"NaN", b"[" * 5000])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(RequestError, match="body: "):
        read_message(body)


def test_a_message_is_read_as_it_was_asked() -> None:
    own = {"tenant_id": "contoso", "connector_id": "in", "source_ip": "::ffff:192.0.2.1"}
    shown = {"tls_subject": "mx1", "tls_fingerprint": ":".join(["AB"] * 32), "message_id": "<m>", "recipients": 3}
    client, message = read_message(json.dumps(MESSAGE_OF_OLD | own | shown).encode())
    assert (client.source_ip, client.tls_fingerprint, client.tls_subject) == ("192.0.2.1", "ab" * 32, "mx1")
    assert client.connector == Connector("contoso", "in")
    assert message == ((LINE,), "<m>", 3, "4XyZ")


def test_a_refusal_is_a_problem_document_without_anything_that_a_terminal_obeys() -> None:
    counts = Counts()
    body = {"source_ip": "\x1b[31m\u202e", "received": 5}
    status, problem = ask(Doorway(), body, counts=counts)
    assert (status, problem["status"], problem["title"]) == (400, 400, "Bad Request")
    assert [error["field"] for error in problem["errors"]] == ["source_ip", "received"]
    assert problem["errors"][0]["value"] == "\x1b[31m\u202e"
    assert counts.statuses == [400]

    async def asking(session: aiohttp.ClientSession, url: str) -> None:
        async with session.post(f"{url}/v1/decide", json=body) as answer:
            raw = await answer.read()
            assert answer.content_type == "application/problem+json"
        assert raw.isascii()
        assert b"\x1b" not in raw

    serve(Doorway(), asking)


def test_requests_of_another_kind_are_refused() -> None:
    counts, found = Counts(), list[int]()

    async def asking(session: aiohttp.ClientSession, url: str) -> None:
        kinds: list[tuple[str, str, dict[str, Any]]] = [
            ("GET", "/v1/decide", {}),
            ("POST", "/v1/decide", {"data": b"{}", "headers": {"Content-Type": "text/plain"}}),
            ("POST", "/v2/decide", {"json": {}}),
            ("POST", "/v1/openapi.json", {"json": {}}),
            (
                "POST",
                "/v1/decide",
                {"data": b" " * (MAX_BODY_BYTES + 1), "headers": {"Content-Type": "application/json"}},
            ),
        ]
        for method, path, options in kinds:
            async with session.request(method, url + path, **options) as answer:
                found.append(answer.status)
                assert json.loads(await answer.read())["status"] == answer.status

    serve(Doorway(), asking, counts)
    assert found == counts.statuses == [405, 415, 404, 405, 413]


def test_a_fault_of_the_door_accepts() -> None:
    doorway, counts = blocked(), Counts()
    doorway.verdicts.find = None  # type: ignore[method-assign, assignment]
    status, answer = ask(doorway, MESSAGE_OF_OLD, counts=counts)
    assert (status, answer["action"], answer["cause"]) == (200, "accept", FAILED)
    doorway.door = None  # type: ignore[assignment]
    status, answer = ask(doorway, MESSAGE_OF_OLD, counts=counts)
    assert (status, answer["action"], answer["cause"]) == (200, "accept", FAILED)
    assert len(doorway.telemetry.failures) == 1
    assert [where for where, _ in counts.failures] == ["request", "store"]


def test_what_is_no_http_ends_its_connection_and_nothing_else() -> None:
    async def asking(session: aiohttp.ClientSession, url: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"EHLO mx1\r\n\r\n")
        assert b"400" in await reader.readline()
        writer.close()
        async with session.post(f"{url}/v1/decide", json=MESSAGE_OF_OLD) as answer:
            assert (await answer.json())["action"] == "reject"

    serve(blocked(), asking)


@pytest.mark.parametrize(
    ("head", "ends"),
    [("HTTP/1.1\r\nHost: edge", False), ("HTTP/1.1\r\nHost: edge\r\nConnection: close", True), ("HTTP/1.0", True)],
)
def test_a_connection_is_kept_as_the_client_asks(head: str, ends: bool) -> None:
    async def asking(_: aiohttp.ClientSession, url: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        body = json.dumps(MESSAGE_OF_OLD).encode()
        fields = f"{head}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        for _again in range(1 if ends else 3):
            writer.write(f"POST /v1/decide {fields}".encode() + body)
            found = await reader.readuntil(b"\r\n\r\n")
            size = int(found.lower().partition(b"content-length: ")[2].split()[0])
            assert json.loads(await reader.readexactly(size))["action"] == "reject"
        if ends:
            assert await reader.read() == b""
        writer.close()

    serve(blocked(), asking)


def test_a_client_may_wait_until_its_body_is_wanted() -> None:
    async def asking(_: aiohttp.ClientSession, url: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        body = json.dumps(MESSAGE_OF_OLD).encode()
        fields = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        writer.write(f"POST /v1/decide HTTP/1.1\r\nHost: edge\r\n{fields}".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert b"200 OK" in await reader.readline()
        writer.close()

    serve(blocked(), asking)


def test_connections_beyond_the_bound_are_closed() -> None:
    counts = Counts()

    async def asking(session: aiohttp.ClientSession, url: str) -> None:
        port = int(url.rpartition(":")[2])
        kept = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await until(lambda: counts.open == 2)
        reader, _ = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: counts.turned == 1)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        for _, writer in kept:
            writer.close()
        await until(lambda: counts.open == 0)
        assert counts.opened_in_all == 2
        async with session.post(f"{url}/v1/decide", json=MESSAGE_OF_OLD) as answer:
            assert answer.status == 200

    serve(blocked(), asking, counts, most_connections=2)
    assert counts.turned == 1


def test_it_listens_on_a_unix_socket_and_not_on_one_that_is_served(tmp_path: Path) -> None:
    async def run() -> None:
        address = parse_address(f"unix:{tmp_path}/edge.sock")
        server = HttpServer(blocked().door, Counts())
        await server.start(address, 0o600)
        assert (tmp_path / "edge.sock").stat().st_mode & 0o777 == 0o600
        with pytest.raises(ListenError, match="another process listens there"):
            await HttpServer(blocked().door, Counts()).start(address)
        connecting = aiohttp.UnixConnector(str(tmp_path / "edge.sock"))
        async with (
            aiohttp.ClientSession(connector=connecting) as session,
            session.post("http://edge/v1/decide", json=MESSAGE_OF_OLD) as answer,
        ):
            assert (await answer.json())["action"] == "reject"
        await server.stop()
        assert not (tmp_path / "edge.sock").exists()

    asyncio.run(run())


def test_the_document_is_served_and_is_the_committed_one() -> None:
    committed = (REPOSITORY / "docs/reference/edge-openapi.json").read_bytes()
    assert document() == committed, "run: python -m streams.edge.http.openapi > docs/reference/edge-openapi.json"

    async def asking(session: aiohttp.ClientSession, url: str) -> None:
        async with session.get(f"{url}/v1/openapi.json") as answer:
            assert await answer.read() == committed

    serve(Doorway(), asking)


def test_the_document_has_the_fields_that_are_read_and_answered() -> None:
    with pytest.raises(RequestError) as refused:
        read_message(json.dumps({"x": 1}).encode())
    assert ", ".join(sorted(MESSAGE)) in refused.value.errors[0].rule
    with pytest.raises(RequestError) as refused:
        read_client(json.dumps({"x": 1}).encode())
    assert ", ".join(sorted(CLIENT)) in refused.value.errors[0].rule
    _, answer = ask(blocked(), MESSAGE_OF_OLD)
    assert list(answer) == list(ANSWER)
    assert {cause.name for cause in Cause} | {UNMATCHED, UNSEEN, FAILED} == set(ANSWER["cause"]["enum"])
