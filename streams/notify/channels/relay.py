"""The operator's mail relay: letters over connections that are opened for a batch, and closed behind it.

A connection that is kept for later may hang without anybody noticing, so none is: it sends what waits, and ends. How
many are open at once is bounded; what waits longer shares them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

import aiosmtplib

from streams.notices.model import MOST_WHY_CHARS, Outcome, OutcomeKind
from streams.notify.channels.fields import cut
from streams.notify.channels.mail_message import Letter
from streams.visible import visible

MOST_LETTERS: Final = 100
"""Over one connection; relays often end one that sends more."""
_ENHANCED: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")
_CLOSING: Final = 421
_GONE_DETAILS: Final = frozenset({("1", "1"), ("1", "2"), ("1", "3"), ("1", "6"), ("1", "10"), ("2", "1")})
"""Subject and detail of the enhanced codes that are about a mailbox, or its domain, and not about us (RFC 3463)."""
_GONE_CODES: Final = frozenset({550, 551, 553})
"""Likewise, of a relay that gives no enhanced code."""
_OUR_CODES: Final = frozenset({500, 501, 502, 503, 504, 530})
"""Are about what we said to the relay, or whether it knows us."""
_OUR_SUBJECTS: Final = frozenset({"5", "7"})
"""Of enhanced codes: the protocol, and what the relay's rules allow us."""


class TlsMode(StrEnum):
    """How a relay is spoken to: never chosen by what it offers, which whoever is between could take out."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


class Relay(NamedTuple):
    """Where the relay is, and how it is spoken to.

    Attributes:
        host: its name or address.
        port: its port.
        tls: how the connection is encrypted.
        hello: what this host calls itself (EHLO).
        user: signs in with this name; empty for no sign-in.
        password: returns the password at each sign-in, as its file has it then.
        connections: open at once.
        timeout_seconds: for each answer of the relay.
        wait_seconds: for a connection that takes a letter.
        letter_seconds: for all answers about a letter together. With the wait it is less than a sender gives a channel.
        trust: certificates that are trusted in place of the usual ones.
    """

    host: str
    port: int
    tls: TlsMode
    hello: str
    user: str = ""
    password: Callable[[], str] = str
    connections: int = 4
    timeout_seconds: float = 20.0
    wait_seconds: float = 10.0
    letter_seconds: float = 14.0
    trust: ssl.SSLContext | None = None


class RelayAwayError(Exception):
    """The relay cannot be reached, or takes nothing of ours.

    `code` is its answer if it gave one; `has_ended` says that only this connection ended, before a letter was begun.
    """

    def __init__(self, why: str, code: int | None = None, *, has_ended: bool = False) -> None:
        super().__init__(why)
        self.code, self.has_ended = code, has_ended

    @property
    def outcome(self) -> Outcome:
        """What it means for what waits."""
        return Outcome(OutcomeKind.CHANNEL_AWAY, self.code, cut(visible(str(self)), MOST_WHY_CHARS))


class _Waiting(NamedTuple):
    letter: Letter
    outcome: asyncio.Future[Outcome]
    begun: asyncio.Event


class RelayPool:
    """Hands letters to the relay. An outcome comes in bounded time once a connection has taken the letter."""

    def __init__(self, relay: Relay) -> None:
        """Nothing is opened yet."""
        self._relay = relay
        self._waiting: deque[_Waiting] = deque()
        self._batches: set[asyncio.Task[None]] = set()

    async def send(self, letter: Letter) -> Outcome:
        """Send one letter; cancelled while it waits, it is not sent, nor where the relay is too slow for it."""
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(letter, outcome, asyncio.Event())
        self._waiting.append(waiting)
        if len(self._batches) < self._relay.connections:
            self._batches.add(asyncio.create_task(self._send_batch()))
        try:
            async with asyncio.timeout(self._relay.wait_seconds):
                await waiting.begun.wait()
        except TimeoutError:
            # More is to be sent than the relay takes: no recipient is to blame for it.
            _settle(waiting, RelayAwayError("the relay takes mail too slowly").outcome)
        except asyncio.CancelledError:
            outcome.cancel()
            raise
        try:
            async with asyncio.timeout(self._relay.letter_seconds):
                return await outcome
        except TimeoutError:
            return _failed(None, "the relay takes too long over the message, and may have it; it is sent again")

    async def close(self) -> None:
        """End all connections; what waits is told that the relay is away."""
        batches = list(self._batches)
        for batch in batches:
            batch.cancel()
        await asyncio.gather(*batches, return_exceptions=True)
        self._give_up(RelayAwayError("the sender is closing"))

    async def _send_batch(self) -> None:
        try:
            while self._waiting:
                await self._send_over_one_connection()
        except RelayAwayError as error:
            # Another connection that works goes on with what waits: a relay may allow fewer than we open.
            if len(self._batches) == 1:
                self._give_up(error)
        finally:
            # At once, not when the loop comes to it: a letter that comes meanwhile would wait for nobody.
            self._batches.discard(asyncio.current_task())

    async def _send_over_one_connection(self) -> None:
        connection = await _connect(self._relay)
        try:
            for sent in range(MOST_LETTERS):
                waiting = self._next()
                if waiting is None:
                    break
                if not await self._send_one(connection, waiting, is_first=not sent):
                    return
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                await connection.quit()
        finally:
            connection.close()

    def _next(self) -> _Waiting | None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.outcome.done():
                waiting.begun.set()
                return waiting
        return None

    async def _send_one(self, connection: aiosmtplib.SMTP, waiting: _Waiting, *, is_first: bool) -> bool:
        """Send a letter; returns whether the connection can go on."""
        try:
            outcome = await _transmit(connection, waiting.letter)
        except RelayAwayError as error:
            if error.has_ended and not is_first:
                # A relay may end a connection after some letters; the next one is for a new connection.
                self._waiting.appendleft(waiting)
                return False
            _settle(waiting, error.outcome)
            raise
        except BaseException:
            _settle(waiting, RelayAwayError("the sender is closing").outcome)
            raise
        _settle(waiting, outcome)
        if outcome.kind != OutcomeKind.DELIVERED and connection.is_connected:
            with contextlib.suppress(aiosmtplib.SMTPException, OSError):
                await connection.rset()
        return connection.is_connected

    def _give_up(self, error: RelayAwayError) -> None:
        while self._waiting:
            _settle(self._waiting.popleft(), error.outcome)


async def _connect(relay: Relay) -> aiosmtplib.SMTP:
    connection = aiosmtplib.SMTP(
        hostname=relay.host,
        port=relay.port,
        local_hostname=relay.hello,
        timeout=relay.timeout_seconds,
        use_tls=relay.tls == TlsMode.TLS,
        start_tls=relay.tls == TlsMode.STARTTLS,
        tls_context=relay.trust,
    )
    try:
        # All of it together: each step may take the whole timeout otherwise.
        async with asyncio.timeout(relay.timeout_seconds):
            await connection.connect()
            await connection.ehlo()
            if relay.user:
                await connection.login(relay.user, relay.password())
    except BaseException as error:
        connection.close()
        if isinstance(error, aiosmtplib.SMTPResponseException):
            raise RelayAwayError(f"the relay refuses us: {_words(error)}", error.code) from None
        if isinstance(error, TimeoutError):
            raise RelayAwayError("the relay does not answer in time") from None
        if isinstance(error, aiosmtplib.SMTPException | OSError | ValueError):
            raise RelayAwayError(f"the relay cannot be reached: {_cause(error)}") from None
        raise
    return connection


async def _transmit(connection: aiosmtplib.SMTP, letter: Letter) -> Outcome:
    """Send one letter.

    Raises:
        RelayAwayError: the relay refused us before anything was said about the recipient.
    """
    encoding = "utf-8" if letter.needs_utf8 else "ascii"
    if letter.needs_utf8 and not connection.supports_extension("smtputf8"):
        return _failed(None, "the relay takes no address outside ASCII (SMTPUTF8)")
    wants_dsn = connection.supports_extension("dsn")
    options = ["SMTPUTF8", "BODY=8BITMIME"] if letter.needs_utf8 else []
    options += ["RET=HDRS"] if wants_dsn else []
    try:
        await connection.mail(letter.sender, options=options, encoding=encoding)
    except aiosmtplib.SMTPResponseException as error:
        why = f"the relay refuses our sender: {_words(error)}"
        raise RelayAwayError(why, error.code, has_ended=error.code == _CLOSING) from None
    except TimeoutError:
        raise RelayAwayError("the relay does not answer in time") from None
    except (aiosmtplib.SMTPException, OSError):
        raise RelayAwayError("the relay ended the connection", has_ended=True) from None
    try:
        await connection.rcpt(letter.recipient, options=["NOTIFY=FAILURE"] if wants_dsn else [], encoding=encoding)
    except aiosmtplib.SMTPResponseException as error:
        return _refused_recipient(error)
    except TimeoutError:
        connection.close()
        return _failed(None, "the relay does not answer in time about the recipient")
    except (aiosmtplib.SMTPException, OSError):
        return _failed(None, "the relay ended the connection when it was told the recipient")
    try:
        response = await connection.data(letter.content)
    except aiosmtplib.SMTPResponseException as error:
        if error.code == _CLOSING:
            raise RelayAwayError(f"the relay is closing: {_words(error)}", error.code) from None
        why = f"the relay did not take the message: {_words(error)}"
        return _outcome(OutcomeKind.REFUSED if error.code >= 500 else OutcomeKind.FAILED, error.code, why)
    except TimeoutError:
        return _failed(None, "the relay did not say in time whether it has the message; it is sent again")
    except (aiosmtplib.SMTPException, OSError):
        return _failed(None, "the connection ended before the relay said whether it has the message; it is sent again")
    return Outcome(OutcomeKind.DELIVERED, response.code, cut(visible(response.message), MOST_WHY_CHARS))


def _refused_recipient(error: aiosmtplib.SMTPResponseException) -> Outcome:
    """What an answer to RCPT means.

    Only one about the mailbox is the recipient's. A relay that does not relay for us says 5xx as well, and many keep
    what they have against our name or our sender until they are told a recipient: were that taken for a refusal or a
    failure of the destination, one wrong setting would park every one.
    """
    if error.code == _CLOSING:
        raise RelayAwayError(f"the relay is closing: {_words(error)}", error.code) from None
    enhanced = _ENHANCED.match(error.message)
    if error.code >= 500 and (error.code in _OUR_CODES or (enhanced is not None and enhanced[2] in _OUR_SUBJECTS)):
        return _outcome(OutcomeKind.FAULT, error.code, f"the relay takes nothing of ours for it: {_words(error)}")
    is_gone = error.code in _GONE_CODES if enhanced is None else (enhanced[2], enhanced[3]) in _GONE_DETAILS
    if error.code < 500 or not is_gone:
        return _failed(error.code, f"the relay does not take the recipient now: {_words(error)}")
    why = f"the recipient was refused: {_words(error)}"
    return _outcome(OutcomeKind.GONE, error.code, why)


def _failed(code: int | None, why: str) -> Outcome:
    return _outcome(OutcomeKind.FAILED, code, why)


def _outcome(kind: OutcomeKind, code: int | None, why: str) -> Outcome:
    return Outcome(kind, code, cut(visible(why), MOST_WHY_CHARS))


def _settle(waiting: _Waiting, outcome: Outcome) -> None:
    if not waiting.outcome.done():
        waiting.outcome.set_result(outcome)
    waiting.begun.set()


def _words(error: aiosmtplib.SMTPResponseException) -> str:
    return f"{error.code} {' '.join(error.message.split())}"


def _cause(error: BaseException) -> str:
    """The innermost reason in few words, without the relay's address: that is the operator's, and tenants read this."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return "TLS failed"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    return str(error) if isinstance(error, aiosmtplib.SMTPException) else type(error).__name__
