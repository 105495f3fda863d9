"""How long a client waits for a cluster that does not answer: a person less than a worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

is_told_soon = ContextVar("is_told_soon", default=False)


@contextmanager
def told_soon() -> Iterator[None]:
    """Clients that start in here give up on addresses that take connections and do not answer.

    A worker does not: it waits for a broker that is busy or restarts.
    """
    token = is_told_soon.set(True)
    try:
        yield
    finally:
        is_told_soon.reset(token)
