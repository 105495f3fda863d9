"""Sessions of browsers: who signed in, sealed into a cookie. No replica has to ask another one."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple

from streams.log_events import log_event
from streams.report.access.callers import AccessRole, Caller
from streams.report.access.seals import Seal, derive_key

log = logging.getLogger(__name__)

MINUTE_MS: Final = 60_000
IDLE_MS: Final = 30 * MINUTE_MS
"""A session ends when no request came for so long."""
LONGEST_MS: Final = 8 * 60 * MINUTE_MS
"""A session ends so long after sign-in, whatever comes: what it may do was said then."""
RENEW_MS: Final = MINUTE_MS
"""How exact it is known when the last request came."""
MOST_ENDED: Final = 10_000


class Session(NamedTuple):
    """A browser that somebody signed in with; moments in UTC milliseconds.

    `csrf_token` must come with every request that changes something.
    """

    id: str
    caller: Caller
    started_ms: int
    seen_ms: int
    csrf_token: str


class Sessions:
    """Begins, opens and ends sessions."""

    def __init__(
        self,
        secret: bytes,
        clock_ms: Callable[[], int],
        idle_ms: int = IDLE_MS,
        longest_ms: int = LONGEST_MS,
        most_ended: int = MOST_ENDED,
    ) -> None:
        """No session is known by itself.

        Args:
            secret: seals the sessions; replicas with the same secret open each other's.
            clock_ms: UTC milliseconds.
            idle_ms: how long a session may be idle.
            longest_ms: how long a session may last.
            most_ended: how many ended sessions are kept in mind.
        """
        self._seal = Seal(secret, "session")
        self._csrf_key = derive_key(secret, "csrf")
        self._clock_ms, self._idle_ms, self._longest_ms, self._most_ended = clock_ms, idle_ms, longest_ms, most_ended
        self._ended: dict[str, int] = {}

    def begin(self, caller: Caller) -> Session:
        """A new session, whose id nobody can know before."""
        now, name = self._clock_ms(), secrets.token_urlsafe(18)
        return Session(name, caller, now, now, self._csrf_token(name))

    def seal(self, session: Session) -> str:
        """What the browser keeps."""
        return self._seal.seal([session.id, *session.caller, session.started_ms, session.seen_ms])

    def open(self, text: str) -> Session | None:
        """The session that a browser brings; None if it has ended, or is none."""
        content = self._seal.open(text)
        if content is None:
            return None
        try:
            name, subject, shown, role, tenant, started_ms, seen_ms = content
            session = Session(
                name, Caller(subject, shown, AccessRole(role), tenant), started_ms, seen_ms, self._csrf_token(name)
            )
        except ValueError:  # sealed by another version
            return None
        now = self._clock_ms()
        has_ended = now - session.seen_ms >= self._idle_ms or now - session.started_ms >= self._longest_ms
        return None if has_ended or session.id in self._ended else session

    def renewed(self, session: Session) -> Session | None:
        """The session as of now, where the browser's has become old."""
        now = self._clock_ms()
        return session._replace(seen_ms=now) if now - session.seen_ms >= RENEW_MS else None

    def end(self, session: Session) -> None:
        """Open it no more in this process; another one opens it until it is idle or old."""
        now = self._clock_ms()
        if len(self._ended) >= self._most_ended:
            self._ended = {name: until for name, until in self._ended.items() if until > now}
        if len(self._ended) >= self._most_ended:
            del self._ended[next(iter(self._ended))]
            log.warning(
                "more than %d sessions ended by sign-out in %d hours: the first one may be used again if its cookie "
                "was copied",
                self._most_ended,
                self._longest_ms // (60 * MINUTE_MS),
                extra=log_event("report_sessions_full", most=self._most_ended),
            )
        self._ended[session.id] = session.started_ms + self._longest_ms

    def _csrf_token(self, name: str) -> str:
        return hmac.digest(self._csrf_key, name.encode(), sha256).hex()
