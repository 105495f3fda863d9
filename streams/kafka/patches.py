"""Corrections to aiokafka 0.14.0, for all of its clients, Faust's included.

* A broker that refuses a bearer token answers with a reason and waits to be told that it was read (RFC 7628, 3.2.3).
  aiokafka takes the answer for a success; every request after it then fails for a reason that says nothing of tokens.
* A TLS connection that is closed waits up to 30 seconds for the broker's farewell, which does not come while a request
  of that connection waits at the broker. A worker that is told to end would use up its grace period.
* Each request is logged whole at DEBUG, and the one that logs in holds a token, or what is made of a password.
* When compaction takes the marker of a transaction away, the broker may keep its batch without a record, so that the
  writer's sequence is known. aiokafka refuses such a batch, and a changelog that has one could never be restored. It is
  the marker of nothing: what it once ended is gone from the log, or was committed.

Importing this module puts them in place.
"""

from __future__ import annotations

import logging
from itertools import chain
from typing import Any

from aiokafka import conn
from aiokafka.consumer import fetcher

FAREWELL_SECONDS = 1.0
"""How long the end of a TLS connection may take."""


class _TokenLogin(conn.OAuthAuthenticator):  # type: ignore[misc]
    _has_answered = False

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if payload and not self._has_answered:
            self._has_answered = True
            return b"\x01", True  # now the broker fails the login, and says why
        following: tuple[bytes, bool] | None = await super().step(payload)
        return following


class Connection(conn.AIOKafkaConnection):  # type: ignore[misc]
    """A connection that notices a refused token, and that ends soon."""

    def authenticator_oauth(self) -> _TokenLogin:
        """See the module."""
        return _TokenLogin(sasl_oauth_token_provider=self._sasl_oauth_token_provider)

    def close(self, reason: Any = None, exc: BaseException | None = None) -> Any:
        """Close it and whatever is pending on it; returns a future that ends with it."""
        transport = self._writer.transport if self._writer is not None else None
        ended = super().close(reason=reason, exc=exc)
        if transport is not None and self._ssl_context is not None:
            self._loop.call_later(FAREWELL_SECONDS, transport.abort)
        return ended


class _NoCredentials(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                f"<{name}: not shown>" if (name := type(value).__name__).startswith("SaslAuthenticate") else value
                for value in record.args
            )
        return True


_has_abort_marker = fetcher.PartitionRecords._contains_abort_marker


def _contains_abort_marker(self: Any, batch: Any) -> bool:
    first = next(batch, None)
    return first is not None and bool(_has_abort_marker(self, chain((first,), batch)))


conn.AIOKafkaConnection = Connection
conn.log.addFilter(_NoCredentials())
fetcher.PartitionRecords._contains_abort_marker = _contains_abort_marker
