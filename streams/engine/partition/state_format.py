"""The format of a changelog's state: a row beside the markers, looked at before anything is done with the state."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from streams.engine.partition.restore import NAME
from streams.engine.ports import StateStore, StoreError

STATE_FORMAT_KEY = b"\0state-format"
"""State row: the format of the state's rows, in decimal."""


def refuse_other(stored: bytes | None, reads: int) -> None:
    """Refuse what the row of a state says, unless it is the format that this version reads; None says nothing.

    Raises:
        StoreError: it is another one.
    """
    if stored is not None and stored != b"%d" % reads:
        shown = stored.decode("utf-8", "replace")[:20]
        raise StoreError(f"state format {shown}: this version reads format {reads} only; see docs/how-to/upgrade.md")


def check_format(store: StateStore, reads: int, format_of: Callable[[StateStore], int | None]) -> None:
    """Refuse a state of another format than `reads`; `format_of` tells that of a state that has no row for it.

    Raises:
        StoreError: it is another one.
    """
    stored = store.get(STATE_FORMAT_KEY)
    if stored is None and (found := format_of(store)) is not None:
        stored = b"%d" % found
    refuse_other(stored, reads)


def new_rows(stated: bytes) -> dict[bytes, bytes]:
    """The rows that a new changelog begins with, in their order; `stated` stands in the row of the format."""
    return {NAME: uuid.uuid4().hex.encode(), STATE_FORMAT_KEY: stated}


def first_rows(store: StateStore, reads: int) -> dict[bytes, bytes]:
    """Of the rows that a changelog begins with, those that this one lacks."""
    return {key: value for key, value in new_rows(b"%d" % reads).items() if store.get(key) is None}
