"""Bearer tokens: which are accepted, and that nothing else is."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from joserfc.jwk import OKPKey, RSAKey
from joserfc.jws import JWSRegistry, serialize_compact

from streams.report.access.tokens import MOST_TOKEN_BYTES
from tests.support.oidc_provider import AUDIENCE, CLIENT_ID, RSA_KEY, OidcProvider, encoded, make_key
from tests.support.report_access import Answer, Site, served_with_provider

OTHER_RSA = RSAKey.generate_key(2048, private=True)
Check = Callable[[Site, OidcProvider], Awaitable[None]]


def run(check: Check, **settings: Any) -> None:
    async def served() -> None:
        async with served_with_provider(**settings) as (site, provider):
            await check(site, provider)

    asyncio.run(served())


def refused(answer: Answer, why: str) -> None:
    """It is 401, as problem details and as a challenge, and says nothing of the token."""
    assert answer.status == 401, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert why in answer.json()["detail"]
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="tes-report", error="invalid_token"')


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_good_token_says_who_calls(algorithm: str) -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        provider.keys = {"own": (make_key(algorithm), algorithm)}
        answer = await site.call(provider.token())
        assert answer.status == 200, answer.text
        assert answer.json() == {
            "subject": f"{provider.issuer} u-1",
            "name": "ana",
            "role": "tenant-admin",
            "tenant": "acme",
        }
        assert answer.headers["Cache-Control"] == "private, no-cache"

    run(check)


def test_the_name_of_eddsa_that_rfc_9864_gave_is_accepted() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        key = make_key("EdDSA")
        provider.keys = {"own": (key, "Ed25519")}
        assert (await site.call(provider.token())).status == 200

    run(check)


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"aud": "another"}, "its aud is refused"),
        ({"aud": ["another", CLIENT_ID]}, "its aud is refused"),
        ({"aud": None}, "it lacks aud"),
        ({"aud": {"tes-api": 1}}, "its aud is refused"),
        ({"iss": "https://evil.example"}, "its iss is refused"),
        ({"iss": None}, "it lacks iss"),
        ({"exp": None}, "it lacks exp"),
        ({"exp": "tomorrow"}, "its exp is refused"),
        ({"exp": True}, "its exp is refused"),
        ({"exp": float("nan")}, "its exp is refused"),
        ({"nbf": 9e18}, "its nbf is refused"),
        ({"iat": 9e18}, "its iat is refused"),
        ({"sub": None}, "it lacks sub"),
        ({"sub": ""}, "its sub is refused"),
        ({"events": {"logout": {}}}, "it is a token for something else"),
    ],
)
def test_a_token_with_wrong_claims_is_refused(claims: dict[str, Any], why: str) -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        refused(await site.call(provider.token(**claims)), why)

    run(check)


def test_one_of_several_audiences_is_enough() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        assert (await site.call(provider.token(aud=["account", AUDIENCE]))).status == 200

    run(check)


def test_clocks_may_differ_by_a_minute_and_no_more() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        now = int(site.clock.seconds)
        assert (await site.call(provider.token(exp=now - 59))).status == 200
        refused(await site.call(provider.token(exp=now - 60)), "it has expired")
        assert (await site.call(provider.token(nbf=now + 60))).status == 200
        refused(await site.call(provider.token(nbf=now + 61)), "its nbf is refused")
        token = provider.token()
        assert (await site.call(token)).status == 200
        site.clock.advance(360)
        refused(await site.call(token), "it has expired")

    run(check)


async def _forged(provider: OidcProvider) -> dict[str, tuple[str, str]]:
    """Tokens that somebody makes who knows all that is public, and why each is refused."""
    header, claims = {"alg": "RS256", "kid": "first"}, provider.claims()
    public = RSA_KEY.as_dict(private=False)
    pem = RSA_KEY.as_pem(private=False)
    body = f"{encoded(header)}.{encoded(claims)}"
    good = provider.token()
    head, payload, signature = good.split(".")

    def by_secret(secret: bytes) -> str:
        start = f"{encoded(header | {'alg': 'HS256'})}.{encoded(claims)}"
        return f"{start}.{encoded(hmac.digest(secret, start.encode(), 'sha256'))}"

    def signed(more: dict[str, Any], key: Any = RSA_KEY) -> str:
        full, registry = header | more, JWSRegistry(algorithms=["RS256", "RS512"], strict_check_header=False)
        full = {name: value for name, value in full.items() if value is not None}
        return serialize_compact(full, json.dumps(claims), key, registry=registry)

    unsigned = f"{encoded({'alg': 'none', 'kid': 'first'})}.{encoded(claims)}."
    embedded = OTHER_RSA.as_dict(private=False)
    deep = "[" * 3_000
    return {
        "by another key": (signed({}, OTHER_RSA), "its signature is wrong"),
        "claims changed": (f"{head}.{encoded(claims | {'roles': ['operator']})}.{signature}", "its signature is wrong"),
        "no signature": (f"{body}.", "its signature is wrong"),
        "signature of rubbish": (f"{body}.{encoded(b'x' * 256)}", "its signature is wrong"),
        "alg none": (unsigned, "its algorithm is not allowed"),
        "alg None": (
            unsigned.replace(encoded({"alg": "none", "kid": "first"}), encoded({"alg": "None", "kid": "first"})),
            "its algorithm is not allowed",
        ),
        "alg absent": (f"{encoded({'kid': 'first'})}.{encoded(claims)}.{signature}", "it is no signed JSON web token"),
        "alg a list": (
            f"{encoded({'alg': ['RS256'], 'kid': 'first'})}.{payload}.{signature}",
            "its algorithm is not allowed",
        ),
        "HS256 with the public key as PEM": (by_secret(pem), "its algorithm is not allowed"),
        "HS256 with the public key as JWK": (by_secret(json.dumps(public).encode()), "its algorithm is not allowed"),
        "RS512, which is not pinned": (signed({"alg": "RS512"}), "its algorithm is not allowed"),
        "an algorithm for another kind of key": (
            f"{encoded({'alg': 'ES256', 'kid': 'first'})}.{payload}.{signature}",
            "the issuer has no such key",
        ),
        "jwk": (signed({"jwk": embedded}, OTHER_RSA), "it brings a key of its own"),
        "jku": (signed({"jku": "https://evil.example/keys"}, OTHER_RSA), "it brings a key of its own"),
        "x5u": (signed({"x5u": "https://evil.example/chain"}, OTHER_RSA), "it brings a key of its own"),
        "x5c": (signed({"x5c": ["MIIB"]}, OTHER_RSA), "it brings a key of its own"),
        "crit": (signed({"crit": ["kid"]}), "its header needs what is not supported"),
        "b64": (signed({"b64": True}), "its header needs what is not supported"),
        "no kid": (signed({"kid": None}), "it names no key"),
        "an empty kid": (signed({"kid": ""}), "it names no key"),
        "a long kid": (signed({"kid": "k" * 257}), "it names no key"),
        "a kid that is a number": (f"{encoded({'alg': 'RS256', 'kid': 7})}.{payload}.{signature}", "it names no key"),
        "an unknown kid": (signed({"kid": "../../etc/passwd"}), "the issuer has no such key"),
        "a logout token": (signed({"typ": "logout+jwt"}), "it is a token for something else"),
        "a payload that is a list": (
            serialize_compact(header, "[]", RSA_KEY, ["RS256"]),
            "it is a token for something else",
        ),
        "a payload of rubbish": (serialize_compact(header, b"\xff", RSA_KEY, ["RS256"]), "malformed"),
        "a payload without end": (serialize_compact(header, deep, RSA_KEY, ["RS256"]), "malformed"),
        "a header without end": (f"{encoded(deep.encode())}.{payload}.{signature}", "it is no signed JSON web token"),
        "two parts": (f"{head}.{payload}", "it is no signed JSON web token"),
        "five parts": (f"{good}.{payload}.{signature}", "it is no signed JSON web token"),
        "nothing": ("", "it is no signed JSON web token"),
        "too long": (f"{head}.{'A' * MOST_TOKEN_BYTES}.{signature}", f"it has more than {MOST_TOKEN_BYTES} bytes"),
    }


def test_no_forged_token_is_accepted() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        assert (await site.call(provider.token())).status == 200
        for name, (token, why) in (await _forged(provider)).items():
            answer = await site.call(token)
            assert answer.status in (401, 429), (name, answer.text)
            assert why in answer.json()["detail"], (name, answer.text)

    run(check, oidc_algorithms=("RS256", "ES256"))


def test_an_algorithm_that_is_not_pinned_is_refused_even_if_its_key_is_published() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        provider.keys = {"own": (OKPKey.generate_key("Ed25519", private=True), "EdDSA")}
        refused(await site.call(provider.token()), "its algorithm is not allowed")

    run(check, oidc_algorithms=("RS256",))


def test_without_an_audience_of_its_own_tokens_must_be_for_the_client() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        assert (await site.call(provider.token(aud=CLIENT_ID))).status == 200
        refused(await site.call(provider.token()), "its aud is refused")

    run(check, oidc_audience="")


def test_somebody_without_a_role_is_known_and_may_do_nothing() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        answer = await site.call(provider.token(roles=["auditor"]))
        assert answer.status == 403
        assert "roles: ['auditor']: must name one of tenant-reader" in answer.json()["detail"]
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="tes-report", error="insufficient_scope"'

    run(check)


@pytest.mark.parametrize("tenant", ["*", "", None, "a b", "a/../b", ["acme"], {"acme": 1}, 7, "x" * 65, "acme\n"])
def test_a_tenant_that_is_none_gives_no_access(tenant: Any) -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        assert (await site.call(provider.token(tenant_id=tenant))).status == 403

    run(check)


def test_the_provider_is_away_before_it_was_ever_asked() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        provider.answer = lambda: web.Response(status=500)
        answer = await site.call(provider.token())
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert answer.headers["Content-Type"] == "application/problem+json"
        provider.answer = None
        site.clock.advance(5)
        assert (await site.call(provider.token())).status == 200

    run(check)


def test_no_token_is_in_the_log_nor_in_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        for token in (provider.token(exp=1), provider.token(key=OTHER_RSA), "no-token-at-all"):
            answer = await site.call(token)
            assert answer.status == 401
            for part in token.split("."):
                assert part not in answer.text + str(answer.headers) + caplog.text

    run(check)
    assert [record.__dict__.get("event") for record in caplog.records].count("report_call_refused") == 3


def test_failures_of_an_address_are_bounded_in_the_log_and_good_tokens_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        answers = [await site.call("rubbish") for _ in range(62)]
        assert [answer.status for answer in answers] == [401] * 60 + [429] * 2
        assert answers[-1].headers["Retry-After"] == "60"
        assert (await site.call(provider.token())).status == 200
        site.clock.advance(60)
        assert (await site.call("rubbish")).status == 401

    run(check)
    assert [record.__dict__.get("event") for record in caplog.records].count("report_call_refused") == 6


def test_bearer_tokens_alone_need_no_client_and_no_public_address() -> None:
    async def check(site: Site, provider: OidcProvider) -> None:
        assert (await site.call(provider.token())).status == 200
        for path in ("/", "/v1/me"):
            answer = await site.get(path, Accept="text/html")
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="tes-report"')
        assert (await site.get("/sign-in")).status == 404

    run(check, oidc_client_id="", oidc_client_secret="")


def test_every_route_needs_a_caller_unless_it_says_otherwise() -> None:
    async def check(site: Site, _: OidcProvider) -> None:
        for method in ("GET", "OPTIONS"):
            assert (await site.send(method, "/v1/me")).status == 401
        assert (await site.send("POST", "/v1/change", json={})).status == 401
        assert (await site.get("/open")).text == "open"
        assert (await site.get("/v1/me", Authorization="Basic dXNlcjpwdw==")).status == 401

    run(check)
