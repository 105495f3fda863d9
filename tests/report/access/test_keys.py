"""The provider's keys: fetched when needed, at most so often, kept while the provider is away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, RSAKey

from streams.report.access.fetched import FetchError
from streams.report.access.keys import MOST_UNKNOWN, ProviderKeys, read_keys
from streams.report.access.provider import MOST_ANSWER_BYTES, Provider
from tests.support.oidc_provider import RSA_KEY, OidcProvider, make_key
from tests.support.report_access import Clock
from tests.support.waiting import until_true

Check = Callable[[ProviderKeys, OidcProvider, Clock], Awaitable[None]]


def run(check: Check) -> None:
    async def asked() -> None:
        clock = Clock()
        async with OidcProvider(clock.ms) as server:
            provider = Provider(server.issuer, clock)
            keys = ProviderKeys(provider, clock)
            await provider.start()
            try:
                await check(keys, server, clock)
            finally:
                await keys.close()
                await provider.close()

    asyncio.run(asked())


def test_keys_are_fetched_once_for_all_who_ask() -> None:
    async def check(keys: ProviderKeys, server: OidcProvider, _: Clock) -> None:
        server.gate = asyncio.Event()
        asking = [asyncio.create_task(keys.find("first", "RS256")) for _ in range(20)]
        await until_true(_is_asked(server))
        asking[0].cancel()
        server.gate.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert all(isinstance(key, RSAKey) for key in found[1:])
        assert server.asked == {"/.well-known/openid-configuration": 1, "/keys": 1}

    run(check)


def _is_asked(server: OidcProvider) -> Callable[[], Awaitable[bool]]:
    async def is_asked() -> bool:
        return bool(server.asked)

    return is_asked


def test_a_storm_of_unknown_keys_causes_one_fetch_in_30_seconds() -> None:
    async def check(keys: ProviderKeys, server: OidcProvider, clock: Clock) -> None:
        assert await keys.find("first", "RS256") is not None
        for second in range(120):
            clock.seconds += 1
            found = await asyncio.gather(*(keys.find(f"{second}-{number}", "RS256") for number in range(20)))
            assert found == [None] * 20
        assert server.asked["/keys"] == 1 + 4
        assert await keys.find("first", "RS256") is not None
        assert len(keys._unknown) <= MOST_UNKNOWN

    run(check)


def test_the_same_unknown_key_causes_one_fetch_in_two_minutes() -> None:
    async def check(keys: ProviderKeys, server: OidcProvider, clock: Clock) -> None:
        await keys.find("first", "RS256")
        for _ in range(150):
            clock.advance(1)
            assert await keys.find("gone", "RS256") is None
        assert server.asked["/keys"] == 1 + 2

    run(check)


def test_a_rotated_key_is_found_and_the_old_one_ends() -> None:
    async def check(keys: ProviderKeys, server: OidcProvider, clock: Clock) -> None:
        assert await keys.find("first", "RS256") is not None
        server.keys = {"second": (make_key("ES256"), "ES256")}
        assert await keys.find("second", "ES256") is None  # within the cool-down of the first fetch
        clock.advance(30)
        assert await keys.find("second", "ES256") is not None
        assert await keys.find("first", "RS256") is None

    run(check)


def test_a_withdrawn_key_is_not_trusted_for_long() -> None:
    async def check(keys: ProviderKeys, server: OidcProvider, clock: Clock) -> None:
        assert await keys.find("first", "RS256") is not None
        server.keys = {"second": (make_key("ES256"), "ES256")}
        clock.advance(599)
        assert await keys.find("first", "RS256") is not None
        assert server.asked["/keys"] == 1
        clock.advance(1)
        assert await keys.find("first", "RS256") is not None  # this one asks, and does not wait

        async def is_gone() -> bool:
            return await keys.find("first", "RS256") is None

        await until_true(is_gone)

    run(check)


def test_while_the_provider_is_away_its_keys_are_kept_for_a_day() -> None:
    async def check(keys: ProviderKeys, server: OidcProvider, clock: Clock) -> None:
        assert await keys.find("first", "RS256") is not None
        server.answer = lambda: web.Response(status=503)
        for _ in range(23):
            clock.advance(3600)
            assert await keys.find("first", "RS256") is not None
            assert await keys.find("unknown", "RS256") is None
        clock.advance(3600)
        with pytest.raises(FetchError, match="HTTP 503"):
            await keys.find("first", "RS256")
        server.answer = None
        clock.advance(5)
        assert await keys.find("first", "RS256") is not None

    run(check)


def test_a_provider_that_is_away_is_not_asked_by_every_call() -> None:
    async def check(keys: ProviderKeys, server: OidcProvider, clock: Clock) -> None:
        server.answer = lambda: web.Response(status=503)
        for _ in range(10):
            with pytest.raises(FetchError, match="HTTP 503"):
                await keys.find("first", "RS256")
        assert sum(server.asked.values()) == 1
        clock.advance(5)
        with pytest.raises(FetchError):
            await keys.find("first", "RS256")
        assert sum(server.asked.values()) == 2

    run(check)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda: web.Response(text="<html>"), "no JSON object"),
        (lambda: web.Response(text="[]"), "no JSON object"),
        (lambda: web.Response(text="[" * 100_000), "no JSON object"),
        (lambda: web.Response(body=b" " * (MOST_ANSWER_BYTES + 1)), "more than"),
        (lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), "HTTP 302"),
        (lambda: web.Response(text='{"issuer": "https://evil.example"}'), "issuer: 'https://evil.example': must be"),
    ],
)
def test_an_answer_that_is_none_is_refused(answer: Callable[[], web.Response], why: str) -> None:
    async def check(keys: ProviderKeys, server: OidcProvider, _: Clock) -> None:
        server.answer = answer
        with pytest.raises(FetchError, match=why):
            await keys.find("first", "RS256")

    run(check)


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize(
    "address",
    [None, 7, "", "http://evil.example/keys", "file:///etc/passwd", "https://a@b/", "//b", "https://[", "https://b/#x"],
)
def test_an_endpoint_elsewhere_than_by_https_is_refused(name: str, address: object) -> None:
    async def check(keys: ProviderKeys, server: OidcProvider, _: Clock) -> None:
        server.document[name] = address
        with pytest.raises(FetchError, match=f"{name}: .*: must be an address that begins with https://"):
            await keys.find("first", "RS256")

    run(check)


def test_keys_that_cannot_check_signatures_are_passed_over() -> None:
    public = RSA_KEY.as_dict(private=False)
    curve = ECKey.generate_key("P-256", private=True).as_dict(private=False)
    entries: list[Any] = [
        {**public, "kid": "good"},
        {**public, "kid": "also", "use": "sig", "key_ops": ["verify"]},
        {**curve, "kid": "good"},
        {**public, "kid": "encrypts", "use": "enc"},
        {**public, "kid": "wraps", "key_ops": ["wrapKey"]},
        {**public, "kid": "ops", "key_ops": 7},
        {**public, "kid": ""},
        {**public, "kid": 7},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kty": "RSA", "kid": "bare"},
        {"kty": "PQC", "kid": "newer"},
        {**OctKey.generate_key(256).as_dict(private=True), "kid": "secret"},
        {**RSAKey.generate_key(1024, private=True).as_dict(private=False), "kid": "short"},
        "rubbish",
        None,
    ]
    found = read_keys({"keys": entries})
    assert {name: len(keys) for name, keys in found.items()} == {"good": 2, "also": 1}
    assert read_keys({}) == read_keys({"keys": {}}) == read_keys({"keys": "x"}) == {}
    assert len(read_keys({"keys": [{**public, "kid": f"k{number}"} for number in range(101)]})) == 100


def test_a_key_serves_only_its_own_algorithm() -> None:
    async def check(keys: ProviderKeys, server: OidcProvider, _: Clock) -> None:
        entries = [
            {**RSA_KEY.as_dict(private=False), "kid": "a", "alg": "RS256"},
            {**RSA_KEY.as_dict(private=False), "kid": "b"},
            {**ECKey.generate_key("P-384", private=True).as_dict(private=False), "kid": "c"},
        ]
        document = {**server.document, "keys": entries}
        server.answer = lambda: web.Response(text=json.dumps(document))
        assert await keys.find("a", "RS256") is not None
        assert await keys.find("a", "PS256") is None
        assert await keys.find("b", "PS256") is not None
        assert await keys.find("b", "ES256") is None
        assert await keys.find("c", "ES256") is None

    run(check)


PARTS = (
    st.none() | st.integers() | st.text() | st.lists(st.text(), max_size=2) | st.sampled_from(["AQAB", "AQ", "P-256"])
)


@given(
    st.sampled_from(["RSA", "EC", "OKP", "oct", "x", 7, None]),
    st.dictionaries(st.sampled_from(sorted("nexyd")), PARTS),
    PARTS,
)
def test_no_key_set_breaks_the_reader(kind: object, parts: dict[str, object], curve: object) -> None:
    read_keys({"keys": [{"kty": kind, "kid": "k", "crv": curve, **parts}]})
