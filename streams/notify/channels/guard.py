"""The only HTTP client that calls addresses which tenants choose: it reaches nothing inside the operator's network.

The check stands where the socket is made, and sees the very address that is connected to. A name that resolved to a
public address yesterday, a literal in any notation, and an answer of a hostile name server all pass it, at each
attempt. Only what the operator lists as allowed networks is an exception.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from ipaddress import ip_address
from types import SimpleNamespace, TracebackType
from typing import Any, Final, NamedTuple, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from streams.notices.reach import Address, GuardRules

TOTAL_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 4_096
"""Of an answer's body that are read; the connection is closed where there is more."""
_TRIES: Final = 3
RESOLVER_THREADS: Final = 32
"""More than names that do not resolve keep busy: a tenant's dead name must not keep others' names waiting."""


class CallError(Exception):
    """No answer came; the message says why in plain words, without any address that the URL does not have."""


class _RefusedAddressError(OSError):
    """An address that is not connected to."""


class Answer(NamedTuple):
    """What was answered. `body` has at most `MAX_ANSWER_BYTES`; it is less where its rest never came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str | None:
        """A header by its name, in any case."""
        return self.headers.get(name)


class GuardedClient:
    """Posts to URLs of tenants: no redirects, no cookies, no proxies, `TOTAL_SECONDS` for all of it.

    How many calls run at once is the caller's to bound: a bound in here would let slow hosts keep others waiting.
    """

    def __init__(
        self, rules: GuardRules, *, total_seconds: float = TOTAL_SECONDS, tls: ssl.SSLContext | None = None
    ) -> None:
        """Nothing is opened yet; `tls` stands in place of the usual trust."""
        self.rules = rules
        self._total_seconds, self._tls = total_seconds, tls
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, "resolve")
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        for scheme in ("http", "https"):
            self._sessions[scheme] = self._session(is_encrypted=scheme == "https")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self._sessions.values():
            await session.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post once to a URL that `check_url` gave.

        Raises:
            CallError: there was no answer.
        """
        refused, heads = _refused_addresses.set([]), list[Answer]()
        try:
            async with asyncio.timeout(self._total_seconds):
                return await self._post(url, body, headers, heads)
        except TimeoutError as error:
            if heads:
                return heads[-1]
            raise CallError(_in_words(error, self._total_seconds)) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Of several addresses of a name the refused ones are the reason that somebody can act on.
            was_refused = bool(_refused_addresses.get())
            raise CallError(_REFUSED_WORDS if was_refused else _in_words(error, self._total_seconds)) from None
        finally:
            _refused_addresses.reset(refused)

    async def _post(self, url: URL, body: bytes, headers: Mapping[str, str], heads: list[Answer]) -> Answer:
        for tries_left in reversed(range(_TRIES)):
            trace = SimpleNamespace(was_kept=False)
            try:
                return await self._post_once(url, body, headers, trace, heads)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # A kept connection that the other side has closed meanwhile says nothing about the destination.
                if not trace.was_kept or not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _post_once(
        self, url: URL, body: bytes, headers: Mapping[str, str], trace: SimpleNamespace, heads: list[Answer]
    ) -> Answer:
        session = self._sessions[url.scheme]
        async with session.post(
            url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=trace
        ) as response:
            answered = Answer(response.status, response.headers, b"")
            heads.append(answered)  # for where the rest does not come in time
            try:
                content = await _read_some(response.content)
            except (aiohttp.ClientError, OSError, ValueError):
                # The status says what became of the message; that the rest never came does not change it.
                return answered
            finally:
                if not response.content.at_eof():
                    response.close()
            return answered._replace(body=content)

    def _session(self, *, is_encrypted: bool) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_kept)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_Resolver(self._threads),
                socket_factory=_SocketFactory(self.rules, is_encrypted=is_encrypted),
                limit=0,
                ssl=True if self._tls is None else self._tls,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(),
            headers={"Accept-Encoding": "identity", "User-Agent": "tes-notify"},
            trace_configs=[trace],
        )


_refused_addresses: ContextVar[list[Address]] = ContextVar("_refused_addresses")
_REFUSED_WORDS: Final = "the host's address is private, reserved or not allowed, so it is not called"


class _SocketFactory:
    """Makes the sockets of a session, and refuses to."""

    def __init__(self, rules: GuardRules, *, is_encrypted: bool) -> None:
        self._rules, self._is_encrypted = rules, is_encrypted

    def __call__(self, info: Sequence[Any]) -> socket.socket:
        family, kind, protocol, _, target = info
        address = ip_address(str(target[0]).partition("%")[0])
        if not self._rules.may_connect(address, target[1], is_encrypted=self._is_encrypted):
            _refused_addresses.get().append(address)
            raise _RefusedAddressError(_REFUSED_WORDS)
        return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    """Asks the system's resolver, in threads of its own; a loop's own threads are few and shared."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        def ask() -> list[Any]:
            return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)

        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return [
            ResolveResult(
                hostname=host, host=target[0], port=port, family=kind, proto=protocol, flags=socket.AI_NUMERICHOST
            )
            for kind, _, protocol, _, target in found
        ]

    async def close(self) -> None:
        pass


async def _note_kept(session: aiohttp.ClientSession, context: Any, params: Any) -> None:
    context.trace_request_ctx.was_kept = True


async def _read_some(content: aiohttp.StreamReader) -> bytes:
    parts, size = [], 0
    while size < MAX_ANSWER_BYTES:
        part = await content.read(MAX_ANSWER_BYTES - size)
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _in_words(error: Exception, seconds: float) -> str:
    """Why there was no answer; never the text of an error, which may name addresses."""
    match error:
        case TimeoutError():
            return f"no answer within {seconds:g} s"
        case aiohttp.ClientConnectorDNSError():
            return "the host's name cannot be resolved"
        case aiohttp.ClientConnectorCertificateError():
            return f"the host's certificate is not accepted: {_certificate_words(error.certificate_error)}"
        case aiohttp.ClientSSLError():
            return "TLS with the host failed"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed before an answer"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return "the host refuses connections"
        case aiohttp.ClientConnectorError():
            return "the host cannot be reached"
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return "the answer is not valid HTTP"
        case aiohttp.ClientOSError() | OSError():
            return "the connection broke before an answer"
        case _:
            return "the host cannot be called"


def _certificate_words(error: Exception) -> str:
    return getattr(error, "verify_message", "") or "it is not valid"
