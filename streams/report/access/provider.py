"""The OpenID Connect provider: what it says of itself, and its endpoints, over HTTPS with bounds on size and time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus, urlsplit

import aiohttp

from streams.report.access.fetched import Fetched, FetchError
from streams.settings.base import is_loopback
from streams.visible import visible

ANSWER_SECONDS: Final = 5.0
"""How long it may take to answer."""
MOST_ANSWER_BYTES: Final = 256 << 10
"""Of an answer; the keys of a large provider have about 20 kB."""
FRESH_SECONDS: Final = 3600.0
STALE_SECONDS: Final = 24 * 3600.0
"""What it said of itself a day ago is not used any more."""
_ERROR_CODE = re.compile(r"[a-zA-Z0-9_.-]{1,60}")  # RFC 6749, 5.2


class ProviderDocument(NamedTuple):
    """What a provider says of itself (OpenID Connect Discovery 1.0, section 3)."""

    authorization_endpoint: str
    token_endpoint: str
    keys_address: str


class RefusedCodeError(Exception):
    """The provider does not give tokens for a code; the message has its error code, and nothing secret."""


class Provider:
    """Asks the provider; `start` before the first question."""

    def __init__(self, issuer: str, clock: Callable[[], float]) -> None:
        """Nothing is asked yet; `clock` gives seconds that never go back."""
        self.issuer = issuer
        self._document = Fetched(self._fetch_document, clock, FRESH_SECONDS, STALE_SECONDS)
        self._client: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Make the client, in the event loop that uses it."""
        self._client = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS), trust_env=True, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """End what is under way."""
        await self._document.close()
        if self._client is not None:
            await self._client.close()

    async def document(self) -> ProviderDocument:
        """What it says of itself.

        Raises:
            FetchError: it has not said it for a day.
        """
        return await self._document.get()

    async def fetch_keys(self) -> dict[str, Any]:
        """Its key set, as it is.

        Raises:
            FetchError: it does not answer, or not as it must.
        """
        address = (await self.document()).keys_address
        status, answer = await self._ask("GET", address)
        if status != 200:
            raise FetchError(f"{address}: HTTP {status}")
        return answer

    async def exchange(self, form: Mapping[str, str], client_id: str, secret: str) -> dict[str, Any]:
        """What the token endpoint gives for a code (RFC 6749, section 4.1.3).

        Raises:
            FetchError: it does not answer, or not as it must.
            RefusedCodeError: it refuses the code or the client.
        """
        address = (await self.document()).token_endpoint
        headers = {}
        if secret:
            headers["Authorization"] = aiohttp.encode_basic_auth(quote_plus(client_id), quote_plus(secret))
        else:
            form = {**form, "client_id": client_id}
        status, answer = await self._ask("POST", address, data=form, headers=headers)
        if status == 200:
            return answer
        code = answer.get("error")
        if status < 500 and isinstance(code, str) and _ERROR_CODE.fullmatch(code):
            raise RefusedCodeError(code)
        raise FetchError(f"{address}: HTTP {status}")

    async def _fetch_document(self) -> ProviderDocument:
        address = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
        status, answer = await self._ask("GET", address)
        if status != 200:
            raise FetchError(f"{address}: HTTP {status}")
        if answer.get("issuer") != self.issuer:
            raise FetchError(f"{address}: issuer: {_shown(answer.get('issuer'))}: must be {self.issuer!r}")
        return ProviderDocument(
            self._endpoint(address, answer, "authorization_endpoint"),
            self._endpoint(address, answer, "token_endpoint"),
            self._endpoint(address, answer, "jwks_uri"),
        )

    def _endpoint(self, address: str, answer: Mapping[str, Any], name: str) -> str:
        """An address of the document: by HTTPS, or on this machine if the issuer is."""
        text = answer.get(name)
        try:
            parts = urlsplit(text) if isinstance(text, str) else urlsplit("")
            is_local = is_loopback(parts.hostname or "") and is_loopback(urlsplit(self.issuer).hostname or "")
            is_good = bool(parts.hostname) and not parts.fragment and "@" not in parts.netloc
        except ValueError:
            is_good = False
        if not is_good or not (parts.scheme == "https" or (parts.scheme == "http" and is_local)):
            raise FetchError(f"{address}: {name}: {_shown(text)}: must be an address that begins with https://")
        return str(text)

    async def _ask(self, method: str, address: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """Status and JSON object; a redirect is none, since it would carry secrets elsewhere."""
        assert self._client is not None, "not started"
        try:
            async with self._client.request(
                method,
                address,
                allow_redirects=False,
                headers={"Accept": "application/json"} | more.pop("headers", {}),
                **more,
            ) as response:
                body = await _read(response)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise FetchError(f"{address}: {visible(str(error)) or type(error).__name__}") from None
        if len(body) > MOST_ANSWER_BYTES:
            raise FetchError(f"{address}: the answer has more than {MOST_ANSWER_BYTES} bytes")
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            if status != 200:
                return status, {}
            raise FetchError(f"{address}: the answer is no JSON object")
        return status, answer


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """What is answered, or a little more of it than is allowed."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > MOST_ANSWER_BYTES:
            break
    return bytes(body)


def _shown(value: object) -> str:
    return visible(repr(value))[:200]
