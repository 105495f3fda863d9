"""Takes bounces from the relay over LMTP: an address of this machine, and nothing is taken that names no destination.

Every answer that is not 2xx or 550 leaves the mail with the relay, which tries again: a ledger that is away loses none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import Envelope, Session
from sqlalchemy.exc import SQLAlchemyError

from streams.database.database import ALL_TENANTS, Database, reason_of
from streams.listening import Listener
from streams.log_events import log_event
from streams.notices.bounces import bounced_destination, take_bounce
from streams.notices.model import Destination, Outcome, OutcomeKind
from streams.notices.tokens import TokenError
from streams.notify.bounces.reports import MOST_BYTES, NO_REPORT, Report, ReportKind, read_report
from streams.notify.channels.mail_message import BOUNCE_LOCAL
from streams.notify.status import DATABASE, Status
from streams.notify.telling import Teller

log = logging.getLogger(__name__)

MOST_CONNECTIONS: Final = 50
IDLE_SECONDS: Final = 60.0
_NULL_SENDERS: Final = ("", "<>")
_UNKNOWN: Final = "550 5.1.1 no such address"
_LATER: Final = "451 4.3.0 not now"

Result = TypeVar("Result")


class Bounces:
    """Reads what comes back, and writes it into the ledger."""

    def __init__(self, database: Database, domain: str, status: Status, clock: Callable[[], int]) -> None:
        """Take bounces to addresses of a domain.

        Args:
            database: where the ledger is.
            domain: of the addresses that mail comes back to.
            status: what is told of it.
            clock: returns UTC milliseconds.
        """
        self._database, self._domain, self._clock = database, domain.lower(), clock
        self.status, self._told = status, Teller(status)
        self._threads = ThreadPoolExecutor(1, "bounces")
        self._open: set[asyncio.BaseTransport] = set()

    @asynccontextmanager
    async def taken(self, listener: Listener | None) -> AsyncIterator[None]:
        """Take bounces until the end of the context; None for none."""
        if listener is None:
            yield
            return
        # It writes a line for every command.
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        loop = asyncio.get_running_loop()
        await listener.serve(lambda: _Protocol(self, loop))
        try:
            yield
        finally:
            listener.close()
            for transport in list(self._open):
                transport.close()
            self._threads.shutdown(wait=False, cancel_futures=True)

    def opened(self, transport: asyncio.BaseTransport) -> bool:
        """Whether one more connection may be had."""
        if len(self._open) >= MOST_CONNECTIONS:
            return False
        self._open.add(transport)
        return True

    def closed(self, transport: asyncio.BaseTransport | None) -> None:
        """A connection ended."""
        if transport is not None:
            self._open.discard(transport)

    # What aiosmtpd calls, by these names.

    async def handle_MAIL(  # noqa: N802
        self, server: LMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Every sender may begin; what is taken for a bounce is one without."""
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_RCPT(  # noqa: N802
        self, server: LMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """One recipient, who has to be the token of a destination."""
        if envelope.rcpt_tos:
            return "452 4.5.3 one recipient at a time"
        try:
            await self._destination(address)
        except TokenError:
            self.status.stray_bounces += 1
            return _UNKNOWN
        except Exception as error:  # noqa: BLE001 - whatever failed, the relay tries again
            return self._left(error)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: LMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Read it, and write what follows from it."""
        content = envelope.content
        report = NO_REPORT
        try:
            if envelope.mail_from in _NULL_SENDERS and isinstance(content, bytes):
                report = await self._in_thread(lambda: read_report(content))
            if report.kind is ReportKind.PERMANENT:
                await self._take(await self._destination(envelope.rcpt_tos[0]), report)
        except Exception as error:  # noqa: BLE001 - whatever failed, the relay tries again
            return self._left(error)
        self.status.bounces[report.kind] += 1
        return "250 2.0.0 Ok"

    def _left(self, error: Exception) -> str:
        """Leave the mail with the relay."""
        if isinstance(error, SQLAlchemyError | OSError):
            self._told.failed(DATABASE, error)
        else:
            about = log_event("notify_bounce_failed", why=reason_of(error))
            log.error("a bounce could not be taken: %s", reason_of(error), exc_info=error, extra=about)
        return _LATER

    async def _destination(self, address: str) -> Destination:
        """The destination of an address that mail came back to.

        Raises:
            TokenError: it is nobody's.
        """
        local, _, domain = address.rpartition("@")
        name, _, token = local.partition("+")
        if domain.lower() != self._domain or name.lower() != BOUNCE_LOCAL:
            raise TokenError("not an address of ours")

        def ask() -> Destination:
            with self._database.reading(ALL_TENANTS) as connection:
                return bounced_destination(connection, token)

        return await self._in_thread(ask)

    async def _take(self, destination: Destination, report: Report) -> None:
        outcome = Outcome(OutcomeKind.GONE, report.code, report.why)

        def write() -> Any:
            with self._database.writing() as connection:
                return take_bounce(connection, destination, report.message_id, outcome, self._clock())

        taken = await self._in_thread(write)
        if taken.is_new:
            where = f"{destination.tenant_id}/{destination.destination_id}"
            about = log_event(
                "notify_bounced",
                tenant=destination.tenant_id,
                destination=destination.destination_id,
                message=report.message_id,
                why=report.why,
            )
            log.warning("a mail came back: %s: %s", where, report.why, extra=about)
        if taken.is_parked:
            self._told.parked(destination, report.why)

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class _Protocol(LMTP):
    """A connection of the relay's."""

    line_length_limit = MOST_BYTES
    """Not every relay breaks long lines, and what is refused for one never comes again."""

    def __init__(self, bounces: Bounces, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            bounces,
            data_size_limit=MOST_BYTES,
            enable_SMTPUTF8=True,
            hostname="tes-notify",
            ident="LMTP",
            timeout=IDLE_SECONDS,
            loop=loop,
        )
        self._bounces = bounces

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._bounces.opened(transport):
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._bounces.closed(self.transport)
        super().connection_lost(error)
