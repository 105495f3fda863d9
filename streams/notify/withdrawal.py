"""Which notices another one makes untrue, so that they are not told any more if they still wait. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from streams.domain.outputs.notification import NotificationKind as Kind
from streams.notify.notice import Notice

_STRICTER: Final = (Kind.STAGE_UPCOMING, Kind.STAGE_ENTERED)
_PAUSES: Final = (Kind.PAUSE_STARTED, Kind.PAUSE_EXTENDED, Kind.PAUSE_ENDING)


class Untrue(NamedTuple):
    """Notices of a tenant that are not true any more.

    `server` is whose, None for all of the tenant and those about none. `below_stage` leaves out those about this stage
    and later ones, None for no bound. Only what happened before the notice that says so is concerned.
    """

    kinds: tuple[str, ...]
    server: str | None
    is_whole_tenant: bool
    below_stage: int | None = None


_OF_SAME: Final[Mapping[str, tuple[Kind, ...]]] = {
    Kind.SERVER_RESOLVED: (Kind.SERVER_DETECTED, Kind.SERVER_REGRESSED, Kind.SERVER_MIXED, *_STRICTER),
    Kind.SERVER_VANISHED: _STRICTER,
    Kind.SERVER_DETECTED: (Kind.SERVER_RESOLVED, Kind.SERVER_VANISHED),
    Kind.SERVER_REGRESSED: (Kind.SERVER_RESOLVED, Kind.SERVER_VANISHED),
    Kind.PAUSE_STARTED: (Kind.PAUSE_ENDED, Kind.PAUSE_CANCELLED),
    Kind.PAUSE_EXTENDED: (Kind.PAUSE_STARTED, Kind.PAUSE_ENDING, Kind.PAUSE_ENDED),
    Kind.PAUSE_CANCELLED: _PAUSES,
    Kind.PAUSE_ENDED: _PAUSES,
    Kind.EXCEPTION_GRANTED: (Kind.EXCEPTION_REVOKED, Kind.EXCEPTION_EXPIRED, *_STRICTER),
    Kind.EXCEPTION_REVOKED: (Kind.EXCEPTION_GRANTED,),
    Kind.EXCEPTION_EXPIRED: (Kind.EXCEPTION_GRANTED,),
    Kind.OVERRIDE_APPLIED: (Kind.OVERRIDE_ENDED,),
    Kind.OVERRIDE_ENDED: (Kind.OVERRIDE_APPLIED,),
}
"""By kind: the kinds that one about the same server, or about the same whole tenant, makes untrue."""
_HOLDS_BACK: Final = (Kind.PAUSE_STARTED, Kind.PAUSE_EXTENDED)
"""Begin to hold enforcement back: of a server, or of all servers of the tenant."""


def made_untrue(notice: Notice) -> list[Untrue]:
    """What a notice makes untrue."""
    found = []
    same = _OF_SAME.get(notice.kind)
    if same is not None:
        found.append(Untrue(_texts(same), notice.server, is_whole_tenant=False))
    if notice.kind in _HOLDS_BACK:
        found.append(Untrue(_texts(_STRICTER), notice.server, is_whole_tenant=notice.server is None))
    if notice.kind == Kind.STAGE_ENTERED and notice.stage is not None:
        found += [
            Untrue(_texts((Kind.STAGE_UPCOMING,)), notice.server, is_whole_tenant=False, below_stage=notice.stage + 1),
            Untrue(_texts((Kind.STAGE_ENTERED,)), notice.server, is_whole_tenant=False, below_stage=notice.stage),
        ]
    return found


def _texts(kinds: tuple[Kind, ...]) -> tuple[str, ...]:
    return tuple(str(kind) for kind in kinds)
