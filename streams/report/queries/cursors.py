"""Cursors: where a page ended, signed, so that they are taken from nobody but this service."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Any, Final

import orjson
from sqlalchemy import Connection

from streams.database.database import Database
from streams.report.store.upkeep import fact, set_fact

KEY: Final = "cursor_key"
_SIGNATURE_BYTES: Final = 16
MAX_CURSOR_CHARS: Final = 2_000


class CursorError(ValueError):
    """A cursor is not one of this service, or is of another question."""


def ensure_key(database: Database) -> bytes:
    """The key that signs cursors; made where there is none yet."""
    with database.writing() as connection:
        known = fact(connection, KEY)
        if known is None:
            known = secrets.token_hex(32)
            set_fact(connection, KEY, known)
    return bytes.fromhex(known)


def read_key(connection: Connection) -> bytes | None:
    """The key that signs cursors; None before `ensure_key`."""
    known = fact(connection, KEY)
    return None if known is None else bytes.fromhex(known)


def sign_cursor(key: bytes, question: Sequence[Any], place: Sequence[Any]) -> str:
    """A cursor behind a place.

    Args:
        key: that signs it.
        question: what was asked, the tenant first; the cursor continues no other question.
        place: the sort key of the last row that was shown.
    """
    body = orjson.dumps(list(place))
    return base64.urlsafe_b64encode(_signature(key, question, body) + body).decode().rstrip("=")


def read_cursor(key: bytes, question: Sequence[Any], cursor: str) -> list[Any]:
    """The place that a cursor is behind.

    Raises:
        CursorError: it was not given to this question.
    """
    try:
        if len(cursor) > MAX_CURSOR_CHARS:
            raise CursorError("cursor: too long")
        signed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise CursorError("cursor: must be one that this service gave for the same question") from None
    signature, body = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(key, question, body)):
        raise CursorError("cursor: must be one that this service gave for the same question")
    place: list[Any] = orjson.loads(body)
    return place


def _signature(key: bytes, question: Sequence[Any], body: bytes) -> bytes:
    asked = orjson.dumps(list(question))
    signed = len(asked).to_bytes(4, "big") + asked + body
    return hmac.new(key, signed, hashlib.sha256).digest()[:_SIGNATURE_BYTES]
