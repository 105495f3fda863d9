"""Sends what is due: many destinations at once, each in order, so that a slow or dead one costs the others nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from streams.database.database import reason_of
from streams.domain.time import SECOND_MS
from streams.notices.model import MOST_WHY_CHARS, Channel, DestinationKind, Message, Outcome, OutcomeKind
from streams.notify.lanes import Lanes
from streams.notify.runs import LEASE_MS, PASSES, Attempt, Claim, Run
from streams.notify.status import DATABASE, Status
from streams.notify.telling import Teller
from streams.visible import visible

CLAIMED_AT_ONCE: Final = 100
WRITTEN_AT_ONCE: Final = 500
FAILING_SHARE: Final = 4
"""Of all that is sent at once, only one in so many goes to destinations that failed last."""
_RUN_MS: Final = 30 * SECOND_MS
"""No further message of a lane begins later than this, so that its lease holds."""
SEND_SECONDS: Final = (LEASE_MS - _RUN_MS) / 1000 - 5
"""No channel takes longer; one that does is at fault."""

Result = TypeVar("Result")


class Pace(NamedTuple):
    """How often the sender looks, and how long it waits, in seconds."""

    poll: float = 0.1
    """Between two looks for lanes that are due, where there were none."""
    gather: float = 0.02
    """So long results are gathered before they are written."""
    first_retry: float = 0.5
    """After a failure of the database; each further one waits twice as long."""
    last_retry: float = 10.0
    """The longest wait between two tries."""
    first_away: float = 5.0
    """How long a channel that is away is left alone; each further time twice as long."""
    last_away: float = 60.0
    """The longest time that it is left alone."""


class _Wanted(NamedTuple):
    kinds: Sequence[DestinationKind]
    limit: int
    is_failing: bool
    is_trial: bool = False


class _Pause:
    """A channel that may be away: how often it was found so, until when it is left alone (monotonic seconds)."""

    def __init__(self) -> None:
        self.until = 0.0
        self.count = 0
        self.is_tried = False


class Sender:
    """Takes lanes, sends, and writes what became of it, until it is cancelled."""

    def __init__(
        self,
        lanes: Lanes,
        channels: Mapping[DestinationKind, Channel],
        status: Status,
        *,
        in_flight: int,
        clock: Callable[[], int],
        failpoint: Callable[[str], None],
        pace: Pace | None = None,
    ) -> None:
        """Send by some channels.

        Args:
            lanes: to destinations.
            channels: by kind of destination; what is for others waits.
            status: what is told of it.
            in_flight: to how many destinations is sent at once.
            clock: returns UTC milliseconds.
            failpoint: called with the name of each step.
            pace: how often it looks.
        """
        self._lanes, self._channels, self.status = lanes, channels, status
        self._told, self._clock, self._failpoint = Teller(status), clock, failpoint
        self._in_flight, self._pace = in_flight, pace or Pace()
        self._threads = ThreadPoolExecutor(2, "notify")
        self._results: asyncio.Queue[Run] = asyncio.Queue()
        self._tasks: dict[asyncio.Task[None], bool] = {}
        self._unwritten = 0
        """Runs whose results are not written: they come again where the process dies, so they are in flight as well."""
        self._pauses = {kind: _Pause() for kind in channels}
        self._is_writing, self._cannot_write = False, False
        self._broken: asyncio.Future[None]
        self.observe: Callable[[DestinationKind, int], None] = lambda _, __: None
        """Takes how long a notice took from its topic to its destination, in milliseconds."""

    async def run(self) -> None:
        """Run until cancelled; no failure of the database or a channel ends it."""
        self._broken = asyncio.get_running_loop().create_future()
        writing = asyncio.create_task(self._write())
        claiming = asyncio.create_task(self._claim())
        try:
            await asyncio.gather(writing, claiming, self._broken)
        finally:
            for task in (claiming, writing, *self._tasks):
                task.cancel()
            await asyncio.gather(claiming, writing, *self._tasks, return_exceptions=True)
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def end(self, seconds: float) -> None:
        """Take no lanes any more, and let what is under way end for a while. What does not is sent again later."""
        self._in_flight = 0
        give_up_at = time.monotonic() + seconds
        while self._is_busy() and time.monotonic() < give_up_at:  # noqa: ASYNC110 - of three kinds of things
            await asyncio.sleep(0.05)

    def _is_busy(self) -> bool:
        return bool(self._tasks) or self._is_writing or not self._results.empty()

    async def _claim(self) -> None:
        wait = self._pace.first_retry
        while True:
            if self._cannot_write:
                # The leases of what was sent end meanwhile, and whoever took it again would send it again.
                await asyncio.sleep(self._pace.poll)
                continue
            try:
                is_full = await self._claim_once()
            except (SQLAlchemyError, OSError) as error:
                self._told.failed(DATABASE, error)
                await asyncio.sleep(wait)
                wait = min(wait * 2, self._pace.last_retry)
                continue
            self._told.works(DATABASE)
            wait = self._pace.first_retry
            if not is_full:
                await asyncio.sleep(self._pace.poll)

    async def _claim_once(self) -> bool:
        """Take what is due, and begin to send it; whether there may be more."""
        is_full = False
        for wanted in self._wanted():
            if not wanted.kinds or wanted.limit < 1 or self._is_tried(wanted):
                continue
            asked_at = time.monotonic()
            # Nobody else knows what is taken, whatever happens to this task.
            claims = await asyncio.shield(self._in_thread(partial(self._lanes.claim, *wanted[:3])))
            for claim in claims:
                self._begin(claim, asked_at, is_failing=wanted.is_failing)
                self._pauses[claim.destination.kind].is_tried = True
            is_full = is_full or (not wanted.is_failing and len(claims) == wanted.limit)
        return is_full and self._free() > 0

    def _free(self) -> int:
        return self._in_flight - len(self._tasks) - self._unwritten

    def _wanted(self) -> list[_Wanted]:
        free = self._free()
        failing = min(free, max(1, self._in_flight // FAILING_SHARE) - sum(self._tasks.values()))
        now = time.monotonic()
        working = [kind for kind, pause in self._pauses.items() if not pause.count]
        away = [
            kind for kind, pause in self._pauses.items() if pause.count and not pause.is_tried and now >= pause.until
        ]
        return [
            _Wanted(working, min(free, CLAIMED_AT_ONCE), is_failing=False),
            _Wanted(working, min(failing, CLAIMED_AT_ONCE), is_failing=True),
            # One shows whether a channel is back; there may be none but such that failed last.
            *(
                _Wanted([kind], min(free, 1), is_failing=is_failing, is_trial=True)
                for kind in away
                for is_failing in (False, True)
            ),
        ]

    def _is_tried(self, wanted: _Wanted) -> bool:
        """Whether it would be a second trial of a channel that is away."""
        return wanted.is_trial and self._pauses[wanted.kinds[0]].is_tried

    def _begin(self, claim: Claim, asked_at: float, *, is_failing: bool) -> None:
        task = asyncio.create_task(self._send_all(claim, asked_at))
        self._tasks[task] = is_failing
        self.status.in_flight = len(self._tasks)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        self.status.in_flight = len(self._tasks)
        if not task.cancelled() and (error := task.exception()) is not None and not self._broken.done():
            self._broken.set_exception(error)

    async def _send_all(self, claim: Claim, asked_at: float) -> None:
        """Send what was taken. Its lease began when it was asked for, or later: what took too long is given back."""
        kind, waits_until = claim.destination.kind, None
        attempts: list[Attempt] = []
        for message in claim.messages:
            if (time.monotonic() - asked_at) * 1000 > _RUN_MS:
                break
            at = self._clock()
            outcome = await self._send(claim, message)
            self._failpoint("sent")
            attempts.append(Attempt(message, at, max(at, self._clock()), outcome))
            if outcome.kind is OutcomeKind.CHANNEL_AWAY:
                waits_until = self._clock() + round(self._leave_alone(kind, outcome.why) * 1000)
            elif self._pauses[kind].count:
                self._pauses[kind] = _Pause()
                self._pauses[kind].is_tried = True
                self._told.back(kind)
            if outcome.kind not in PASSES:
                break
        self._unwritten += 1
        await self._results.put(Run(claim, tuple(attempts), waits_until))

    async def _send(self, claim: Claim, message: Message) -> Outcome:
        kind = claim.destination.kind
        try:
            async with asyncio.timeout(SEND_SECONDS):
                outcome = await self._channels[kind].send(claim.destination, message)
        except TimeoutError:
            outcome = Outcome(OutcomeKind.FAULT, None, f"no answer within {SEND_SECONDS:g} seconds")
        except Exception as error:  # noqa: BLE001 - a fault of ours, which must end nothing
            why = visible(reason_of(error))[:MOST_WHY_CHARS]
            self._told.at_fault(kind, why, error)
            return Outcome(OutcomeKind.FAULT, None, why)
        if outcome.kind is OutcomeKind.FAULT:
            self._told.at_fault(kind, outcome.why)
        elif outcome.kind is OutcomeKind.DELIVERED:
            self._told.is_sound(kind)
        return outcome

    def _leave_alone(self, kind: DestinationKind, why: str) -> float:
        """Pause a channel that is away; returns for how many seconds."""
        pause, now = self._pauses[kind], time.monotonic()
        if pause.is_tried:  # of what was sent at once, only the first counts
            pause.is_tried = False
            pause.count += 1
            pause.until = now + min(self._pace.first_away * 2.0 ** (pause.count - 1), self._pace.last_away)
        self._told.away(kind, why)
        return max(0.0, pause.until - now)

    async def _write(self) -> None:
        while True:
            runs = [await self._results.get()]
            self._is_writing = True
            await asyncio.sleep(self._pace.gather)
            while not self._results.empty() and len(runs) < WRITTEN_AT_ONCE:
                runs.append(self._results.get_nowait())
            await self._write_runs(runs)
            self._unwritten -= len(runs)
            self._is_writing = False

    async def _write_runs(self, runs: list[Run]) -> None:
        wait = self._pace.first_retry
        while True:
            try:
                finished = await asyncio.shield(self._in_thread(lambda: self._lanes.finish(runs)))
                break
            except (SQLAlchemyError, OSError) as error:
                self._cannot_write = True
                self._told.failed(DATABASE, error)
            await asyncio.sleep(wait)
            wait = min(wait * 2, self._pace.last_retry)
        self._cannot_write = False
        self._told.works(DATABASE)
        self.status.refused_runs += len(finished.refused)
        for destination, why in finished.parked:
            self._told.parked(destination, why)
        for destination, message_id, why in finished.given_up:
            self._told.given_up(destination, message_id, why)
        for run, why in finished.unwritten:
            self._told.unwritten(run.claim.destination, why)
        now = self._clock()
        for run in runs:
            kind = run.claim.destination.kind
            for attempt in run.attempts:
                self.status.attempts[kind, attempt.outcome.kind] += 1
                if attempt.outcome.kind is OutcomeKind.DELIVERED:
                    came = run.claim.came_at[attempt.message.message_id]
                    self.status.delivered[kind] += len(came)
                    for at in came:
                        self.observe(kind, max(0, now - at))

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
