"""Bearer tokens: when a new one is asked for, and what is said of an endpoint that gives none."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.kafka import tokens as kafka_tokens
from streams.kafka.security import cluster_of
from streams.kafka.tokens import TokenEndpoint, TokenError, TokenFile
from streams.settings.worker import Settings, SettingsError
from tests.support.certificates import Authority
from tests.support.token_server import Answer, TokenServer, tokens

SECRET = "s3cret+of: nobody"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(authority: Authority) -> Iterator[TokenServer]:
    certificate, _ = authority.certificate("identity")
    with TokenServer(certificate, tokens({"access_token": "first", "expires_in": 100})) as running:
        yield running


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(kafka_tokens, "time", clock)
    return clock


def endpoint(server: TokenServer, authority: Authority, scope: str = "") -> TokenEndpoint:
    context = ssl.create_default_context(cafile=str(authority.file))
    return TokenEndpoint(server.url, "tes client", lambda: SECRET, scope, context)


def test_the_client_is_named_as_the_standard_says(server: TokenServer, authority: Authority) -> None:
    assert asyncio.run(endpoint(server, authority, "kafka read").token()) == "first"
    [(path, authorization, form)] = server.asked
    assert path == "/token"
    assert form == {"grant_type": "client_credentials", "scope": "kafka read"}
    assert base64.b64decode(authorization.removeprefix("Basic ")) == b"tes+client:s3cret%2Bof%3A+nobody"


def test_a_token_is_kept_for_most_of_its_life(server: TokenServer, authority: Authority, clock: Clock) -> None:
    server.answer = tokens(*({"access_token": name, "expires_in": 100} for name in ("first", "second")))
    tested = endpoint(server, authority)
    got = []
    for seconds in (0, 79, 2):
        clock.now += seconds
        got.append(tested.current())
    assert got == ["first", "first", "second"]
    assert len(server.asked) == 2


def test_a_token_is_used_to_its_end_while_the_endpoint_gives_none(
    server: TokenServer, authority: Authority, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tested = endpoint(server, authority)
    assert tested.current() == "first"
    server.answer = lambda: (503, {}, SECRET.encode())
    clock.now += 90
    with caplog.at_level(logging.WARNING):
        assert tested.current() == "first"
    assert "HTTP 503" in caplog.text
    clock.now += 10
    with pytest.raises(TokenError, match="HTTP 503"):
        tested.current()
    assert SECRET not in caplog.text


def test_a_token_without_a_told_life_is_kept_for_a_minute(
    server: TokenServer, authority: Authority, clock: Clock
) -> None:
    server.answer = tokens({"access_token": "first"}, {"access_token": "second"})
    tested = endpoint(server, authority)
    assert tested.current() == "first"
    clock.now += 61
    assert tested.current() == "second"


BAD_ANSWERS: list[tuple[Answer, str]] = [
    (
        (401, {}, json.dumps({"error": "invalid_client", "error_description": SECRET}).encode()),
        "HTTP 401: invalid_client",
    ),
    ((400, {}, json.dumps({"error": SECRET}).encode()), "HTTP 400"),
    ((400, {}, b"[]"), "HTTP 400"),
    ((500, {}, SECRET.encode()), "HTTP 500"),
    ((302, {"Location": "https://127.0.0.1:9/elsewhere"}, b""), "HTTP 302"),
    ((307, {"Location": "https://127.0.0.1:9/elsewhere"}, b""), "HTTP 307"),
    ((200, {}, b""), "the response contains no bearer token"),
    ((200, {}, b"[1]"), "the response contains no bearer token"),
    ((200, {}, json.dumps({"access_token": None}).encode()), "the response contains no bearer token"),
    ((200, {}, json.dumps({"access_token": "a\x01b"}).encode()), "the response contains no bearer token"),
    (
        (200, {}, json.dumps({"access_token": "a", "expires_in": "soon"}).encode()),
        "the response contains no bearer token",
    ),
    ((200, {}, b'{"access_token": "' + b"a" * 70_000 + b'"}'), "the response contains no bearer token"),
]


@pytest.mark.parametrize(("answer", "said"), BAD_ANSWERS)
def test_an_endpoint_that_gives_no_token_is_named_with_its_reason(
    server: TokenServer, authority: Authority, answer: Answer, said: str
) -> None:
    server.answer = lambda: answer
    with pytest.raises(TokenError) as refused:
        endpoint(server, authority).current()
    assert str(refused.value) == f"{server.url}: {said}"
    assert len(server.asked) == 1


def test_an_endpoint_that_is_not_trusted_gets_no_secret(server: TokenServer, tmp_path: Path) -> None:
    with pytest.raises(TokenError, match="certificate verify failed"):
        endpoint(server, Authority(tmp_path)).current()
    assert server.asked == []


@pytest.mark.parametrize("content", ["two words", "n,,\x01auth=Bearer a"])
def test_a_file_without_a_bearer_token_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    with pytest.raises(TokenError, match="must hold a bearer token") as refused:
        TokenFile(tmp_path / "token").read()
    assert content not in str(refused.value)


def tls(**files: Any) -> Settings:
    names: dict[str, Any] = {name: str(path) for name, path in files.items()}
    return Settings(kafka_protocol="SSL", **names)


def test_a_certificate_and_its_key_are_taken(authority: Authority) -> None:
    certificate, key = authority.certificate("client")
    assert cluster_of(tls(kafka_certificate_file=certificate, kafka_key_file=key)).security["ssl_context"]


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    certificate, _ = authority.certificate("client")
    _, key = authority.certificate("other")
    with pytest.raises(SettingsError, match=r"^TES_KAFKA_CERTIFICATE_FILE: '.*client.pem': must be .*MISMATCH"):
        cluster_of(tls(kafka_certificate_file=certificate, kafka_key_file=key))


def test_an_encrypted_key_is_refused_and_nobody_is_asked(authority: Authority) -> None:
    certificate, key = authority.certificate("hidden", password=b"of nobody")
    with pytest.raises(SettingsError, match=r"^TES_KAFKA_KEY_FILE: '.*hidden.key': must be a key that is not enc"):
        cluster_of(tls(kafka_certificate_file=certificate, kafka_key_file=key))


def test_files_that_hold_no_certificate_are_refused(authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.certificate("client")
    (tmp_path / "none.pem").write_text("no certificate")
    with pytest.raises(SettingsError, match=r"^TES_KAFKA_CERTIFICATE_FILE: '.*none.pem': must be a PEM certificate"):
        cluster_of(tls(kafka_certificate_file=tmp_path / "none.pem", kafka_key_file=key))
    with pytest.raises(SettingsError, match=r"^TES_KAFKA_KEY_FILE: '.*away.key': must be readable: No such file"):
        cluster_of(tls(kafka_certificate_file=certificate, kafka_key_file=tmp_path / "away.key"))


def test_brokers_are_checked_by_certificate_and_name() -> None:
    context: ssl.SSLContext = cluster_of(tls()).security["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.get_ca_certs() != []


def test_session_keys_are_written_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert cluster_of(tls()).security["ssl_context"].keylog_filename is None
