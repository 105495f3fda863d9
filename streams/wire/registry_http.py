"""The requests that a schema registry is asked by: JSON over HTTP, each answer of bounded length and time."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Final

from streams.bounded_http import body_parts, body_so_far, bounded_opener

MAX_BODY_BYTES: Final = 4 * 1_048_576
"""Of an answer; one schema."""
_MAX_DETAIL_BYTES: Final = 1_000
"""Of what a refusal says."""
_CONTENT_TYPE: Final = "application/vnd.schemaregistry.v1+json"


class RequestError(Exception):
    """There is no answer of use; `status` is the HTTP status of a refusal, None where nobody refused."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


class TooLongError(RequestError):
    """An answer is longer than it may be."""


class RegistryClient:
    """Asks one address, and follows it to no other."""

    def __init__(self, url: str, timeout_seconds: float, context: ssl.SSLContext | None = None) -> None:
        """Ask at `url`, and wait for each answer so long; `context` checks certificates, None for the system's.

        Raises:
            ValueError: `url` is neither http nor https.
        """
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"not an http or https address: {url!r}")
        self._url, self._timeout_seconds = url.rstrip("/"), timeout_seconds
        self._opener = bounded_opener(context)

    def ask(self, path: str, body: dict[str, Any] | None = None, authorization: str | None = None) -> dict[str, Any]:
        """The object that the answer is: to a GET, or to a POST of `body`.

        Args:
            path: behind the address, quoted.
            body: what is posted.
            authorization: the header of this name.

        Raises:
            TooLongError: the answer has more than `MAX_BODY_BYTES`.
            RequestError: there is no answer in time, it refuses, or it is no object.
        """
        request = urllib.request.Request(  # noqa: S310 - the constructor takes http and https only
            self._url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Accept": _CONTENT_TYPE, "Content-Type": _CONTENT_TYPE},
        )
        if authorization is not None:
            request.add_header("Authorization", authorization)
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as response:
                text = b"".join(body_parts(response, MAX_BODY_BYTES))
            if len(text) > MAX_BODY_BYTES:
                raise TooLongError(f"{path}: a response of more than {MAX_BODY_BYTES} bytes")
            answer = json.loads(text)
        except urllib.error.HTTPError as error:
            with error:
                said = body_so_far(error.fp, _MAX_DETAIL_BYTES).decode("utf-8", "replace")
            raise RequestError(f"{path}: HTTP {error.code}: {said}", error.code) from error
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            raise RequestError(f"{path}: {type(error).__name__}: {error}") from error
        if not isinstance(answer, dict):
            raise RequestError(f"{path}: the response is not an object: {str(answer)[:200]}")
        return answer
