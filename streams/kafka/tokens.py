"""Bearer tokens for Kafka: from a file that somebody renews, or from an endpoint for client credentials.

The endpoint is that of RFC 6749, section 4.4. Faust's consumer lives in a thread with a loop of its own, so nothing
here belongs to a loop.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from streams.bounded_http import body_parts, body_so_far, bounded_opener
from streams.kafka.secret_files import SecretFileError, read_secret

log = logging.getLogger(__name__)

ASK_SECONDS = 10.0
"""How long the endpoint may take to answer."""
MAX_ANSWER_BYTES = 65_536
RENEW_AT = 0.8
"""The part of a token's lifetime after which a new one is requested, as in Kafka's own OAuth client.

Its `sasl.login.refresh.window.factor` is 0.8 by default.
"""
ASSUMED_SECONDS = 60.0
"""The life of a token whose endpoint does not tell it."""

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")  # RFC 6749, 5.2


class TokenError(KafkaError):  # type: ignore[misc]
    """There is no token to log in with; aiokafka retries as if the broker were down. Contains no secret."""

    def __init__(self, where: str, rule: str) -> None:
        super().__init__(f"{where}: {rule}")
        self.rule = rule

    def __str__(self) -> str:
        return str(self.args[0])


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]
    """Reads the file for every connection, as it is replaced before its token expires."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str:
        """The token of this moment.

        Raises:
            TokenError: the file holds none.
        """
        try:
            token = read_secret(self._path)
        except SecretFileError as error:
            raise TokenError(str(self._path), error.rule) from None
        if not _TOKEN.fullmatch(token):
            raise TokenError(str(self._path), "must hold a bearer token")
        return token

    async def token(self) -> str:
        """See `AbstractTokenProvider`."""
        return await asyncio.to_thread(self.read)


class TokenEndpoint(AbstractTokenProvider):  # type: ignore[misc]
    """Asks the endpoint, and keeps the token until most of its life is over."""

    def __init__(
        self, url: str, client_id: str, secret: Callable[[], str], scope: str, context: ssl.SSLContext
    ) -> None:
        self._url, self._client_id, self._secret, self._scope = url, client_id, secret, scope
        self._opener = bounded_opener(context)
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = self._ends_at = 0.0

    async def token(self) -> str:
        """See `AbstractTokenProvider`."""
        return await asyncio.to_thread(self.current)

    def current(self) -> str:
        """A token that is valid for a while.

        Raises:
            TokenError: the endpoint issued none, and the last one has expired.
        """
        with self._lock:
            now = time.monotonic()
            if now >= self._renew_at:
                try:
                    self._token, seconds = self._ask()
                except TokenError as error:
                    if now >= self._ends_at:
                        raise
                    log.warning("using the last token until it expires: %s", error)
                else:
                    self._renew_at, self._ends_at = now + seconds * RENEW_AT, now + seconds
            return self._token

    def _ask(self) -> tuple[str, float]:
        try:
            secret = self._secret()
        except SecretFileError as error:
            raise TokenError(self._url, str(error)) from None
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        pair = f"{quote_plus(self._client_id)}:{quote_plus(secret)}".encode()
        request = urllib.request.Request(  # noqa: S310 - the settings take https only
            self._url,
            data=urlencode(form).encode(),
            headers={"Authorization": f"Basic {base64.b64encode(pair).decode()}", "Accept": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=ASK_SECONDS) as response:
                return self._read(b"".join(body_parts(response, MAX_ANSWER_BYTES)))
        except urllib.error.HTTPError as error:
            with error:
                said = body_so_far(error.fp, MAX_ANSWER_BYTES)
            raise TokenError(self._url, f"HTTP {error.code}{_code_of(said)}") from None
        except (OSError, HTTPException) as error:
            raise TokenError(self._url, str(getattr(error, "reason", error))) from None

    def _read(self, answer: bytes) -> tuple[str, float]:
        try:
            found: Any = json.loads(answer)
            token, seconds = found["access_token"], float(found.get("expires_in", ASSUMED_SECONDS))
            if not _TOKEN.fullmatch(token):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise TokenError(self._url, "the response contains no bearer token") from None
        return token, seconds


def _code_of(answer: bytes) -> str:
    """The endpoint's own error code; the rest of what it says may repeat what it was sent."""
    try:
        code = str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return ""
    return f": {code}" if _ERROR_CODE.fullmatch(code) else ""
