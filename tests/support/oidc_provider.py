"""An OpenID Connect provider on loopback: discovery, keys, and a strict code flow with PKCE."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import unquote_plus, urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

CLIENT_ID = "report"
SECRET = "pro:vider s€cret"
AUDIENCE = "tes-api"
RSA_KEY = RSAKey.generate_key(2048, private=True)
"""Making one takes long; it stands for one of no special use."""


def make_key(algorithm: str) -> Key:
    """A private key for an algorithm."""
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", private=True)
    if algorithm == "EdDSA":
        return OKPKey.generate_key("Ed25519", private=True)
    return RSA_KEY


def encoded(part: object) -> str:
    """A part of a token as a token has it."""
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


class OidcProvider:
    """Serves while it is entered. What it was asked is counted by path in `asked`.

    `user` are the claims of whoever signs in, `secret` is empty for a public client, `spoil` changes the claims of the
    next ID tokens, `answer` (if not None) is what it answers to everything.
    """

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self.clock_ms = clock_ms
        self.keys: dict[str, tuple[Key, str]] = {"first": (RSA_KEY, "RS256")}
        self.asked: Counter[str] = Counter()
        self.user: dict[str, Any] = {
            "sub": "u-1",
            "preferred_username": "ana",
            "tenant_id": "acme",
            "roles": ["tenant-admin"],
        }
        self.secret = SECRET
        self.redirect_uri = ""
        self.spoil: Callable[[dict[str, Any]], None] = lambda _: None
        self.answer: Callable[[], web.Response] | None = None
        self.document: dict[str, Any] = {}
        self.gate: asyncio.Event | None = None
        self._codes: dict[str, dict[str, str]] = {}

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.issuer = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def claims(self, **others: Any) -> dict[str, Any]:
        """Those of a good token for the API; None leaves one out."""
        now = self.clock_ms() // 1000
        good = {"iss": self.issuer, "aud": AUDIENCE, "iat": now, "exp": now + 300, **self.user, **others}
        return {name: value for name, value in good.items() if value is not None}

    def token(self, header: Mapping[str, Any] | None = None, key: Key | None = None, **claims: Any) -> str:
        """A token, good where nothing else is said."""
        key_id, (own, algorithm) = next(iter(self.keys.items()))
        full = {"alg": algorithm, "kid": key_id, **(header or {})}
        return jwt.encode(full, self.claims(**claims), key or own, algorithms=[full["alg"]])

    async def _serve(self, request: web.Request) -> web.Response:
        self.asked[request.path] += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.answer is not None:
            return self.answer()
        if request.path == "/.well-known/openid-configuration":
            return web.json_response(self.document)
        if request.path == "/keys":
            keys = [key.as_dict(private=False) | {"kid": name, "alg": alg} for name, (key, alg) in self.keys.items()]
            return web.json_response({"keys": keys})
        if request.path == "/authorize" and request.method == "GET":
            return self._authorize(request.query)
        if request.path == "/token" and request.method == "POST":
            return self._give_token(request, dict(await request.post()))
        return web.Response(status=404)

    def _authorize(self, query: Mapping[str, str]) -> web.Response:
        if query.get("client_id") != CLIENT_ID or query.get("redirect_uri") != self.redirect_uri:
            return web.Response(status=400, text="unknown client or redirect_uri")
        is_good = (
            query.get("response_type") == "code"
            and "openid" in query.get("scope", "").split()
            and query.get("code_challenge_method") == "S256"
            and len(query.get("code_challenge", "")) == 43
            and query.get("nonce")
            and query.get("state")
        )
        if not is_good:
            return web.Response(status=400, text="invalid_request")
        code = secrets.token_urlsafe(16)
        self._codes[code] = dict(query)
        answer = urlencode({"code": code, "state": query["state"], "iss": self.issuer})
        return web.Response(status=302, headers={"Location": f"{self.redirect_uri}?{answer}"})

    def _give_token(self, request: web.Request, form: Mapping[str, Any]) -> web.Response:
        if not self._is_the_client(request.headers.get("Authorization"), form):
            return web.json_response({"error": "invalid_client"}, status=401)
        asked = self._codes.pop(str(form.get("code")), None)
        challenge = encoded(hashlib.sha256(str(form.get("code_verifier")).encode()).digest())
        if (
            form.get("grant_type") != "authorization_code"
            or asked is None
            or form.get("redirect_uri") != asked["redirect_uri"]
            or challenge != asked["code_challenge"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        claims = self.claims(aud=CLIENT_ID, nonce=asked["nonce"])
        self.spoil(claims)
        key_id, (key, algorithm) = next(iter(self.keys.items()))
        token = jwt.encode({"alg": algorithm, "kid": key_id}, claims, key, algorithms=[algorithm])
        return web.json_response({"access_token": "opaque", "token_type": "Bearer", "id_token": token})

    def _is_the_client(self, authorization: str | None, form: Mapping[str, Any]) -> bool:
        if not self.secret:
            return authorization is None and form.get("client_id") == CLIENT_ID
        if authorization is None or not authorization.startswith("Basic ") or "client_secret" in form:
            return False
        user, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        return (unquote_plus(user), unquote_plus(secret)) == (CLIENT_ID, self.secret)
