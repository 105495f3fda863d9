"""Checks that every record must pass, whatever it is of."""

from __future__ import annotations

import re
from typing import Final

from streams.domain.time import EARLIEST_MS, LATEST_MS, MINUTE_MS

MAX_AHEAD_MS: Final = 5 * MINUTE_MS
"""How far ahead of the wall clock a live event may be."""

_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")


class MalformedError(ValueError):
    """A record that cannot be processed; the message names the field, the value and the rule."""


def check_tenant(tenant_id: str) -> None:
    """Refuse a tenant id that could not be part of a key.

    Raises:
        MalformedError: it is not 1 to 64 letters, digits, dots, underscores or hyphens.
    """
    if not _TENANT.fullmatch(tenant_id):
        raise MalformedError(f"tenant_id: {tenant_id[:80]!r:.100}: must match [A-Za-z0-9._-]{{1,64}}")


def check_moment(name: str, moment_ms: int, now_ms: int | None) -> None:
    """Refuse a moment (UTC milliseconds) outside of what a clock can show; `now_ms` is the wall clock, live only.

    Raises:
        MalformedError: it is before 2000, from 2100 on, or more than five minutes ahead of `now_ms`.
    """
    if not EARLIEST_MS <= moment_ms < LATEST_MS:
        raise MalformedError(f"{name}: {moment_ms}: must be a timestamp from 2000 to 2099, in milliseconds")
    if now_ms is not None and moment_ms > now_ms + MAX_AHEAD_MS:
        raise MalformedError(f"{name}: {moment_ms}: more than 5 minutes ahead of the clock ({now_ms})")
