"""Lanes to destinations: taken for a while, with what is to be sent; given back with what became of it.

Whoever takes a lane gets a number that grows with every claim, its fence. What is given back under an older one is
refused: another one has taken the lane meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from streams.database.database import Database, reason_of
from streams.notices.model import DestinationKind, Outcome
from streams.notify.claiming import pack_claims, take_lanes
from streams.notify.faults import is_contents_fault
from streams.notify.finishing import lock_lanes, write_runs
from streams.notify.runs import Claim, Finished, Run


class Lanes:
    """Claims lanes, and writes what became of them."""

    def __init__(
        self,
        database: Database,
        owner: str,
        group_above: int,
        clock: Callable[[], int],
        chance: Callable[[], float],
        failpoint: Callable[[str], None],
    ) -> None:
        """Use the lanes of a ledger.

        Args:
            database: where its tables are.
            owner: names this process to people.
            group_above: more notices than these go to a destination as one digest.
            clock: returns UTC milliseconds.
            chance: returns numbers from 0 to 1.
            failpoint: called with the name of each step.
        """
        self._database, self._owner, self._group_above = database, owner, group_above
        self._clock, self._chance, self._failpoint = clock, chance, failpoint

    def claim(self, kinds: Collection[DestinationKind], limit: int, is_failing: bool = False) -> list[Claim]:
        """Take lanes that are due, those that wait longest first, and pack what is to be sent.

        Args:
            kinds: only to destinations of these kinds.
            limit: how many at most.
            is_failing: lanes whose last attempt failed, instead of the others.

        Raises:
            DBAPIError: the database does not answer, or cannot write.
        """
        claims: list[Claim] = []
        with self._database.writing() as connection:
            # Not before: whoever waits for the right to write would take a lane for less than its lease.
            now = self._clock()
            lanes = take_lanes(connection, kinds, limit, now, self._owner, is_failing=is_failing)
            if lanes:
                claims = pack_claims(connection, lanes, now, self._group_above)
            self._failpoint("claiming")
        self._failpoint("claimed")
        return claims

    def finish(self, runs: Sequence[Run]) -> Finished:
        """Write what became of lanes, and give them back.

        A result that the ledger does not take for what is in it is written without the other side's words; the others
        are written as they are.

        Raises:
            DBAPIError, OSError: the database does not answer, or cannot write; some may be written, and are
                refused when they are given once more.
        """
        try:
            return self._finish(runs)
        except Exception as error:
            if not is_contents_fault(error):
                raise
        finished = Finished()
        for run in runs:
            finished.add(self._salvage(run))
        return finished

    def _salvage(self, run: Run) -> Finished:
        why = ""
        for one in (run, _without_words(run)):
            try:
                return self._finish([one])
            except Exception as error:
                if not is_contents_fault(error):
                    raise
                why = reason_of(error)
        return Finished(unwritten=[(run, why)])

    def _finish(self, runs: Sequence[Run]) -> Finished:
        finished = Finished()
        by_id = {run.claim.destination.destination_id: run for run in runs}
        with self._database.writing() as connection:
            lanes = lock_lanes(connection, sorted(by_id))
            mine: list[tuple[Run, dict[str, Any]]] = []
            for destination_id, run in sorted(by_id.items()):
                lane = lanes.get(destination_id)
                if lane is None or lane["fence"] != run.claim.fence or lane["lease_until"] != run.claim.until:
                    finished.refused.append(run)
                else:
                    mine.append((run, lane))
            write_runs(connection, mine, finished, self._clock(), self._chance)
            self._failpoint("finishing")
        self._failpoint("finished")
        return finished


def _without_words(run: Run) -> Run:
    attempts = [
        attempt._replace(outcome=Outcome(attempt.outcome.kind, None, "what was answered cannot be written"))
        for attempt in run.attempts
    ]
    return run._replace(attempts=tuple(attempts))
