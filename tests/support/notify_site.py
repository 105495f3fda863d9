"""The parts that tell people, put together on a ledger with a clock and a channel of the test's own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from streams.database.database import Database
from streams.domain.time import MINUTE_MS
from streams.notices.model import DestinationKind
from streams.notices.tables import DELIVERY
from streams.notify.lanes import Lanes
from streams.notify.notice import Notice
from streams.notify.recording import Batch, Recorded, Recorder
from streams.notify.runs import PASSES, Claim, Finished, Run
from streams.notify.runs import Attempt as Tried
from streams.notify.sending import Pace, Sender
from streams.notify.status import Status
from tests.support.channels import RecordingChannel
from tests.support.notices import PLACE, SOURCE, START, rows_of

GROUP_ABOVE = 5


class ManualClock:
    """Milliseconds that pass when the test says so."""

    def __init__(self, at: int = START) -> None:
        """Begin at a moment."""
        self.at = at

    def __call__(self) -> int:
        """Now."""
        return self.at


def ignore(_: str) -> None:
    """No failpoint."""


def states(database: Database) -> Counter[str]:
    """How many deliveries have each state."""
    return Counter(row["state"] for row in rows_of(database, DELIVERY))


class Site:
    """Intake, lanes and sender; a crash is a new site on the same ledger."""

    def __init__(
        self,
        database: Database,
        clock: ManualClock | None = None,
        channel: RecordingChannel | None = None,
        *,
        contacts: Mapping[str, Sequence[str]] | None = None,
        failpoint: Callable[[str], None] = ignore,
        owner: str = "one",
    ) -> None:
        """Put them together."""
        self.database, self.clock = database, clock or ManualClock()
        self.channel, self.status = channel or RecordingChannel(), Status()
        known = contacts or {}
        self.recorder = Recorder(database, lambda tenant: known.get(tenant, ()), GROUP_ABOVE, self.clock, failpoint)
        self.lanes = Lanes(database, owner, GROUP_ABOVE, self.clock, lambda: 0.5, failpoint)
        self.failpoint = failpoint

    def record(self, *notices: Notice, is_behind: bool = False) -> Recorded:
        """Write notices as they come from their topic."""
        batch = Batch({PLACE.topic: SOURCE}, notices=notices)
        batch.begins = {PLACE: min(notice.offset for notice in notices)}
        batch.ends = {PLACE: max(notice.offset for notice in notices) + 1}
        return self.recorder.write(batch, is_behind=is_behind)

    def sender(self, in_flight: int = 100) -> Sender:
        """A sender that hurries."""
        return Sender(
            self.lanes,
            dict.fromkeys(DestinationKind, self.channel),
            self.status,
            in_flight=in_flight,
            clock=self.clock,
            failpoint=self.failpoint,
            pace=Pace(poll=0.01, gather=0.0, first_retry=0.01, last_retry=0.05, first_away=0.05, last_away=0.1),
        )

    def claim(self, limit: int = 100, *, is_failing: bool = False) -> list[Claim]:
        """Take lanes."""
        return self.lanes.claim(list(DestinationKind), limit, is_failing)

    def send(self, claims: Sequence[Claim]) -> Finished:
        """Send what was taken, and write what became of it."""
        return self.lanes.finish([asyncio.run(self._run(claim)) for claim in claims])

    async def _run(self, claim: Claim) -> Run:
        tried = []
        for message in claim.messages:
            outcome = await self.channel.send(claim.destination, message)
            tried.append(Tried(message, self.clock(), self.clock(), outcome))
            if outcome.kind not in PASSES:
                break
        is_away = tried[-1].outcome.kind == "CHANNEL_AWAY"
        return Run(claim, tuple(tried), self.clock() + MINUTE_MS if is_away else None)

    def deliver(self, *, after: int = 0) -> Finished:
        """Let time pass, and send all that is due then, whether or not it failed before."""
        self.clock.at += after
        finished = Finished()
        for is_failing in (True, False):
            while claims := self.claim(is_failing=is_failing):
                done = self.send(claims)
                finished.add(done)
        return finished

    def deliver_nothing(self, *, after: int) -> list[Claim]:
        """Let time pass, and take what is due then without sending it."""
        self.clock.at += after
        return self.claim()
