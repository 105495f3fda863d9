"""Asks HTTP servers for small answers: no redirection is followed, and no answer is without end.

A timeout of the standard library begins again with each byte, and some parts of an answer may be of any length for it:
what comes in front of it (`100 Continue`), what a proxy says of its tunnel, what follows the last chunk. Here all that
is read of one answer has one time limit and one size limit.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

MAX_ANSWER_BYTES: Final = 8 * 1_048_576
"""Of an answer with its headers and whatever else comes with it; a caller takes less of the body."""

UNTOLD_SECONDS: Final = 10.0
"""How long an answer may take where the request does not say so."""


class UnboundedAnswerError(http.client.HTTPException):
    """An answer has more bytes than any may have."""


def bounded_opener(context: ssl.SSLContext | None = None) -> urllib.request.OpenerDirector:
    """What opens addresses with http and https; the timeout of a request is that of its whole answer.

    It raises TimeoutError where an answer is not whole in time, `UnboundedAnswerError` where it is too long, and
    otherwise what `urllib.request` does. Proxies are those of the environment.

    Args:
        context: checks certificates; None for the system's.
    """
    # Elsewhere credentials have no business, so no redirection is followed.
    return urllib.request.build_opener(_NoRedirection, _HttpHandler, _HttpsHandler(context))


def body_parts(response: Any, most: int) -> Iterator[bytes]:
    """The body as it comes, until it ends or has `most` bytes and one more.

    Args:
        response: what `bounded_opener` gave, or the `fp` of its HTTPError.
        most: bytes that are wanted.

    Raises:
        TimeoutError: the rest does not come in time.
        HTTPException: the rest is none of an answer.
    """
    left = most + 1
    while left and (part := response.read1(left)):
        left -= len(part)
        yield part


def body_so_far(response: Any, most: int) -> bytes:
    """The first `most` bytes of the body, or those that come in time, as of a refusal; the arguments as above."""
    found = bytearray()
    with suppress(OSError, http.client.HTTPException):
        for part in body_parts(response, most - 1):
            found += part
    return bytes(found)


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class _BoundedFile(io.RawIOBase):
    """Reads a socket up to a moment of the monotonic clock (seconds), and so many bytes."""

    def __init__(self, sock: socket.socket, end: float, seconds: float) -> None:
        self._socket, self._file = sock, sock.makefile("rb", buffering=0)
        self._end, self._seconds, self._left = end, seconds, MAX_ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise self._late()
        self._socket.settimeout(seconds)
        try:
            count = self._file.readinto(buffer)
        except TimeoutError:
            raise self._late() from None
        self._left -= count or 0
        if self._left < 0:
            raise UnboundedAnswerError(f"more than {MAX_ANSWER_BYTES} bytes")
        return count

    def _late(self) -> TimeoutError:
        return TimeoutError(f"the response is not whole within {self._seconds:.0f} s")

    def close(self) -> None:
        self._file.close()
        super().close()


class _BoundedSocket:
    """What an answer is read from; the standard library asks it for a file, and nothing else."""

    def __init__(self, sock: socket.socket, end: float, seconds: float) -> None:
        self._of_file = sock, end, seconds

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedFile(*self._of_file))


class _BoundedAnswers(http.client.HTTPConnection):
    """A connection whose answers have to come before its timeout has passed since it was made."""

    def __init__(self, host: str, /, *, timeout: float = UNTOLD_SECONDS, **named: Any) -> None:
        super().__init__(host, timeout=timeout, **named)
        end = time.monotonic() + timeout

        def response(sock: socket.socket, *words: Any, **named: Any) -> http.client.HTTPResponse:
            bounded: Any = _BoundedSocket(sock, end, timeout)
            return http.client.HTTPResponse(bounded, *words, **named)

        self.response_class: Any = response


class _BoundedTlsAnswers(_BoundedAnswers, http.client.HTTPSConnection):
    """The same with TLS."""


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_BoundedAnswers, request)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(context=context)
        self._bounded_context = context

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_BoundedTlsAnswers, request, context=self._bounded_context)
