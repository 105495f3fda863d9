"""No part of an HTTP answer is waited for without end, and none may be of any length."""

from __future__ import annotations

import ssl
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from streams.bounded_http import MAX_ANSWER_BYTES, body_parts, body_so_far, bounded_opener
from streams.kafka import tokens
from streams.kafka.tokens import TokenEndpoint, TokenError
from streams.wire.registry import ConfluentRegistry, RegistryError
from tests.support.certificates import Authority
from tests.support.slow_server import SlowAnswer, SlowServer

BODY = b'{"schema": "{}"}'
LENGTH = b"Content-Length: %d\r\n\r\n" % len(BODY)
OK = b"HTTP/1.1 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TRAILERS = SlowAnswer(OK + b"Transfer-Encoding: chunked\r\n\r\n10\r\n" + BODY + b"\r\n0\r\n", b"A: b\r\n", 50, b"\r\n")
ANSWERS = {
    "status line": SlowAnswer(b"HTTP/1.1 200 ", b"O", 50, b"K\r\n" + LENGTH + BODY),
    "header": SlowAnswer(OK + b"A: ", b"b", 50, b"\r\n" + LENGTH + BODY),
    "announcements": SlowAnswer(b"", CONTINUE, 50, OK + LENGTH + BODY),
    "body": SlowAnswer(OK + b"Content-Length: 66\r\n\r\n", b" ", 50, BODY),
    "trailers": TRAILERS,
}
ENDLESS = {
    "announcements": replace(ANSWERS["announcements"], part=CONTINUE * 4096, times=MAX_ANSWER_BYTES // 4096 // 25 + 2),
    "trailers": replace(TRAILERS, part=b"A: b\r\n" * 4096, times=MAX_ANSWER_BYTES // 4096 // 6 + 2),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_no_part_of_an_answer_is_waited_for_without_end(name: str) -> None:
    with SlowServer(replace(ANSWERS[name], pause_seconds=0.1)) as server:
        registry = ConfluentRegistry(f"http://127.0.0.1:{server.port}", timeout_seconds=1.0)
        with pytest.raises(RegistryError, match="not whole within 1 s"):
            registry.schema_of(1)


@pytest.mark.parametrize("name", ENDLESS)
def test_no_part_of_an_answer_may_be_of_any_length(name: str) -> None:
    with SlowServer(ENDLESS[name]) as server:
        registry = ConfluentRegistry(f"http://127.0.0.1:{server.port}", timeout_seconds=60.0)
        with pytest.raises(RegistryError, match=f"more than {MAX_ANSWER_BYTES} bytes"):
            registry.schema_of(1)


@pytest.mark.parametrize("name", ANSWERS)
def test_the_same_answers_are_taken_where_they_come_in_time(name: str) -> None:
    with SlowServer(ANSWERS[name]) as server:
        assert ConfluentRegistry(f"http://127.0.0.1:{server.port}", timeout_seconds=60.0).schema_of(1) == {}


REFUSAL = SlowAnswer(b"HTTP/1.1 500 Oops\r\nContent-Length: 50\r\n\r\n", b"!", 50, b"", 0.1)


def test_of_a_refusal_is_told_what_comes_in_time() -> None:
    with SlowServer(REFUSAL) as server:
        registry = ConfluentRegistry(f"http://127.0.0.1:{server.port}", timeout_seconds=1.0)
        with pytest.raises(RegistryError, match=r"HTTP 500|not whole within 1 s") as caught:
            registry.schema_of(1)
    assert "!" * 50 not in str(caught.value)


def test_of_a_refusal_without_end_is_told_its_beginning() -> None:
    endless = replace(REFUSAL, head=b"HTTP/1.1 500 Oops\r\n\r\n", part=b"!" * 1000, times=20_000, pause_seconds=0)
    with SlowServer(endless) as server:
        registry = ConfluentRegistry(f"http://127.0.0.1:{server.port}", timeout_seconds=60.0)
        with pytest.raises(RegistryError, match=r"HTTP 500: !{1000}$"):
            registry.schema_of(1)


def test_a_body_is_given_as_far_as_it_is_wanted() -> None:
    with SlowServer(SlowAnswer(OK + b"Content-Length: 6\r\n\r\n", b"xyz", 2)) as server:
        for most, given in ((2, 3), (5, 6), (6, 6)):
            address = urllib.request.Request(f"http://127.0.0.1:{server.port}")
            with bounded_opener().open(address, timeout=60.0) as response:
                assert len(b"".join(body_parts(response, most))) == given
            with bounded_opener().open(address, timeout=60.0) as response:
                assert len(body_so_far(response, most)) == most


@pytest.mark.parametrize("head", [OK + b"A: ", b"HTTP/1.1 401 No\r\nContent-Length: 50\r\n\r\n"])
def test_an_endpoint_of_tokens_is_not_waited_for_without_end(
    head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "ASK_SECONDS", 1.0)
    authority = Authority(tmp_path)
    certificate, _ = authority.certificate("endpoint")
    slow = SlowAnswer(head, b"b", 50, b"\r\n" + LENGTH + BODY, 0.1)
    with SlowServer(slow, certificate) as server:
        url = f"https://127.0.0.1:{server.port}/token"
        context = ssl.create_default_context(cafile=str(authority.file))
        endpoint = TokenEndpoint(url, "client", lambda: "secret", "", context)
        with pytest.raises(TokenError, match=r"not whole within 1 s|HTTP 401$"):
            endpoint.current()
