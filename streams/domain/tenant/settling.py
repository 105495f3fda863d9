"""Bounds what is remembered of pauses and exceptions that are over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from streams.domain.policy.policy import MAX_LADDER_DAYS
from streams.domain.tenant.quota import Use, union_of
from streams.domain.tenant.state import ExceptionGrant, Pause, Span, TenantEnforcement, with_entry
from streams.domain.tenant.waivers import waived_until
from streams.domain.time import DAY_MS

KEPT_PAUSES: Final = 366
"""Pauses over that are remembered of a tenant, and of each server; of more, the oldest two become as long a one."""
KEPT_EXCEPTIONS: Final = 32
"""The same for the exceptions of a server, which cost no quota."""


def settle(tenant: TenantEnforcement) -> TenantEnforcement:
    """Add what the pauses that are over have cost to their years, and drop what was over ten years ago.

    No ladder is longer, so no date depends on it any more. Nothing else changes: what covers a server stays the same.
    """
    clock, earliest = tenant.clock_at, tenant.clock_at - MAX_LADDER_DAYS * DAY_MS
    every = [*tenant.pauses, *(pause for pauses in tenant.server_pauses.values() for pause in pauses)]
    if any(pause.paid and pause.ends_at <= clock for pause in every):
        use = Use(tenant.used)
        for pause in every:
            use.add(pause.paid if pause.ends_at <= clock else ())
        settled = {name: _settled(pauses, clock) for name, pauses in tenant.server_pauses.items()}
        tenant = replace(
            tenant, pauses=_settled(tenant.pauses, clock), server_pauses=settled, used=dict(sorted(use.years.items()))
        )
    grants = (item for items in tenant.exceptions.values() for item in items)
    if any(span.ends_at <= earliest for spans in (every, grants) for span in spans):
        tenant = _without(tenant, earliest)
    return tenant


def _settled(pauses: tuple[Pause, ...], clock: int) -> tuple[Pause, ...]:
    return tuple(pause._replace(paid=()) if pause.ends_at <= clock else pause for pause in pauses)


def _without(tenant: TenantEnforcement, earliest: int) -> TenantEnforcement:
    own = {name: tuple(item for item in kept if item.ends_at > earliest) for name, kept in tenant.server_pauses.items()}
    grants = {name: tuple(item for item in kept if item.ends_at > earliest) for name, kept in tenant.exceptions.items()}
    return replace(
        tenant,
        pauses=tuple(pause for pause in tenant.pauses if pause.ends_at > earliest),
        server_pauses={name: kept for name, kept in own.items() if kept},
        exceptions={name: kept for name, kept in grants.items() if kept},
    )


def settle_subject(tenant: TenantEnforcement, server: str | None) -> TenantEnforcement:
    """Bound what is remembered of the tenant, or of one server.

    A server's pause that is over goes where a pause of the tenant covers it. Of more than are kept the oldest two
    become one as long as both, which ends with the second: the clock of every server that was there before the first
    has stood still as long.
    """
    over = tenant.clock_at
    if server is None:
        return replace(tenant, pauses=_bounded(tenant.pauses, over, KEPT_PAUSES, Pause.moved))
    spans = union_of(pause.span for pause in tenant.pauses)
    own = (
        pause
        for pause in tenant.server_pauses.get(server, ())
        if pause.paid or pause.ends_at > over or (waived_until(spans, pause.starts_at) or 0) < pause.ends_at
    )
    pauses = _bounded(tuple(own), over, KEPT_PAUSES, Pause.moved)
    grants = _bounded(tenant.exceptions.get(server, ()), over, KEPT_EXCEPTIONS, ExceptionGrant.moved)
    return replace(
        tenant,
        server_pauses=with_entry(tenant.server_pauses, server, pauses),
        exceptions=with_entry(tenant.exceptions, server, grants),
    )


def _bounded(
    spans: tuple[Span, ...], over: int, most: int, moved: Callable[[Span, int, int], Span]
) -> tuple[Span, ...]:
    ended: list[Span] = [span for span in spans if span.ends_at <= over]
    if len(ended) <= most:
        return spans
    ended.sort(key=lambda span: (span.starts_at, span.ends_at))
    while len(ended) > most:
        first, second = ended[:2]
        gap = max(0, second.starts_at - first.ends_at)
        ended[:2] = [moved(second, first.starts_at + gap, max(first.ends_at + gap, second.ends_at))]
    ended += [span for span in spans if span.ends_at > over]
    return tuple(ended)


def forget_server(tenant: TenantEnforcement, server: str) -> TenantEnforcement | None:
    """Drop what is over of a server that is forgotten; None where there is nothing of it.

    A pause or an exception that still holds stays: it was given to that name.
    """
    settled = settle(tenant)
    own = [pause for pause in settled.server_pauses.get(server, ()) if pause.ends_at > tenant.clock_at]
    grants = [item for item in settled.exceptions.get(server, ()) if item.ends_at > tenant.clock_at]
    pauses = with_entry(settled.server_pauses, server, own)
    exceptions = with_entry(settled.exceptions, server, grants)
    if (pauses, exceptions) == (tenant.server_pauses, tenant.exceptions):
        return None
    return replace(settled, server_pauses=pauses, exceptions=exceptions)
