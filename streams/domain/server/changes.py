"""What a change of a server's state means for others: the functions that change a state return it."""

from __future__ import annotations

from typing import Final, NamedTuple

from streams.domain.outputs.notification import AdminNotification, NotificationKind
from streams.domain.policy.ladder import ScheduledStage


class Notice(NamedTuple):
    """A notification to send; a stage that is announced has `stage` and begins in `days` days."""

    kind: NotificationKind
    stage: ScheduledStage | None = None
    days: int = 0


class Changes:
    """The records that one moment asks for.

    `verdict` and `report` say whether there must be a new one, `notices` which notifications follow them, in order.
    `announcements` are notifications about a switch to come, which do not depend on the server's next state.
    """

    __slots__ = ("announcements", "notices", "report", "verdict")

    def __init__(
        self,
        verdict: bool = False,
        report: bool = False,
        notices: tuple[Notice, ...] = (),
        announcements: tuple[AdminNotification, ...] = (),
    ) -> None:
        self.verdict: Final = verdict
        self.report: Final = report
        self.notices: Final = notices
        self.announcements: Final = announcements

    def __or__(self, later: Changes) -> Changes:
        """These changes, then `later` ones of the same moment."""
        if later is NO_CHANGES:
            return self
        if self is NO_CHANGES:
            return later
        return Changes(
            self.verdict or later.verdict,
            self.report or later.report,
            self.notices + later.notices,
            self.announcements + later.announcements,
        )


NO_CHANGES: Final = Changes()
NEW_VERDICT: Final = Changes(verdict=True)
NEW_REPORT: Final = Changes(report=True)


def notify(kind: NotificationKind, stage: ScheduledStage | None = None, days: int = 0) -> Changes:
    """One notification, and no record beside it."""
    return Changes(notices=(Notice(kind, stage, days),))


def verdict_if(is_changed: bool) -> Changes:
    """A new verdict where what the edge must know has changed."""
    return NEW_VERDICT if is_changed else NO_CHANGES
