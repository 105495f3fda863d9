"""The format of the rows of servers and tenants: their first byte. An unknown one is refused, not guessed at."""

from __future__ import annotations

from typing import Any, Final

import orjson

from streams.engine.ports import StoreError

STATE_FORMAT: Final = 4


def check_format(value: bytes) -> None:
    """Refuse a row of another format.

    Raises:
        StoreError: the format is unknown; the worker must stop, not guess.
    """
    if value[0] != STATE_FORMAT:
        raise StoreError(f"state format {value[0]}: this version reads format {STATE_FORMAT} only")


def read_json(value: bytes) -> Any:
    """The JSON in a row.

    Raises:
        StoreError: it is corrupt.
    """
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise StoreError(f"state {value[:60]!r}: corrupt: {error}") from None
