"""Counts the connections that change nothing but what is counted, without deciding them.

Such a connection is recognised in its bytes, and counted in its server's row. Both ways give the same state; which
connections are such ones is a rule of the domain, see `routine`.

Where the counting kernel is built, it takes all those that are plainly routine, a list of records at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from streams.domain.bounds import MAX_TEXT_CHARS
from streams.domain.exchange.build import Build
from streams.domain.exchange.names import canonical_address
from streams.domain.policy.rulebook import NO_SPAN, Rulebook, RuleSpan
from streams.domain.server.connection import MAX_EVENT_ID_CHARS
from streams.domain.server.judging import tells_nothing
from streams.domain.server.mixed import accepted_noted_at
from streams.domain.server.routine import may_be_routine, may_be_routine_of_mixed, may_make_report_due
from streams.domain.server.sighting import judgement_of_build
from streams.domain.server.state import ServerEnforcement, fingerprint, seen_recently
from streams.domain.time import DAY_MS, EARLIEST_MS
from streams.engine.partition.placement import Placement
from streams.engine.ports import Record
from streams.state.orders import CONNECTOR_TYPES, FINDINGS
from streams.state.server_row import ServerRow
from streams.state.stamp_row import BUILD, StampRow, numbers_of, repeated_stamp
from streams.wire.fast_connection import FastConnection
from streams.wire.fast_headers import FastHeaders
from streams.worker.counters import REJECTED
from streams.worker.header_cache import CachedHeader, HeaderCache, ShownServer
from streams.worker.repository import PartitionRepository

try:
    from streams.worker.counting_kernel import CountingKernel, Ticket
except ImportError:  # not built: everything is counted here
    HAS_KERNEL = False
else:
    HAS_KERNEL = True

NO_MOMENT: Final = -1
"""Of a connection that has to be decided."""
NO_DAY: Final = -1
BELIEVED: Final = 0
ACCEPTED: Final = 1
REFUSED: Final = 2
IGNORED: Final = 3
"""What the build of a connection is to its server: the one that is believed, one of the two of a mixed server, or one
that does not count: it tells nothing of an episode, or comes after a later decision."""


class RoutinePath:
    """The short way of one partition's connections; `rulebook` is the one in force, `latest` what `begin` is given."""

    def __init__(
        self,
        repository: PartitionRepository,
        cached_servers: int,
        placement: Placement | None,
        fast_headers: FastHeaders,
        has_kernel: bool = HAS_KERNEL,
    ) -> None:
        self._repository, self._placement = repository, placement
        self._cache, self._sweeps = repository.cache, repository.sweeps
        self._headers = HeaderCache(cached_servers)
        self._counts = repository.counters.routine
        self._kernel: Any = None
        if has_kernel:
            current, previous = fast_headers.current, fast_headers.previous
            self._kernel = CountingKernel(current, previous, repository.cache.change, self._issue)
        self._span, self._span_of = NO_SPAN, ""
        self._latest = 0

    @property
    def cached_bytes(self) -> int:
        """What is kept in memory of topmost lines, as it is counted."""
        return self._headers.counted_bytes

    def begin(self, rulebook: Rulebook, latest: int) -> None:
        """Go on under these rules; no connection after `latest` (UTC milliseconds) is counted."""
        self._rulebook, self._latest = rulebook, latest
        if self._span_of != rulebook.fingerprint:
            self._span, self._span_of = NO_SPAN, rulebook.fingerprint

    def finish(self) -> None:
        """End the unit: all that was counted is in the unit's counts."""
        if self._kernel is not None:
            self._kernel.add_counts(self._counts)

    def count_plain(self, records: Sequence[Record], index: int, before: int | None) -> tuple[int, int]:
        """Count those of `records` that the kernel takes, from `index` on.

        Gives the index of the first that it leaves, and the latest moment (UTC milliseconds) that it has counted yet.
        """
        kernel = self._kernel
        if kernel is None or self._sweeps.of:
            return index, 0
        latest = self._latest if before is None else min(self._latest, before - 1)
        span = self._span
        args = latest, span.starts_at, span.ends_at, span.stamp_holds_ms, self._headers.lines
        return kernel.count(records, index, *args), kernel.latest

    def _issue(self, tenant_id: bytes, text: bytes, line: bytes, header: CachedHeader | None) -> CachedHeader | None:
        """Give a topmost line a ticket, with which the kernel takes connections of its server.

        Gives the line; None where it alone names no server that is known, with a build.

        Args:
            tenant_id: of the connection.
            text: what its value has from there to the line's date.
            line: the line itself.
            header: what it tells, None where it is not cached.
        """
        top = self._headers.add(text, tenant_id, line) if header is None else header
        if top is None or top.shown is None or top.shown.build is None:
            return None
        row = self._row_of(top.shown.key, tenant_id)
        if row is None:
            return None
        top.ticket = self._ticket_of(top, top.shown, row)
        return top

    def _ticket_of(self, top: CachedHeader, seen: ShownServer, row: ServerRow, ignored_on: int = NO_DAY) -> Any:
        # By way of the cache, which counts what is decoded.
        accepted = self._details_of(seen.key, row).accepted_build if row.is_mixed else None
        return Ticket(
            row,
            row.notes(),
            seen.key,
            _packed(seen.build),
            _packed(accepted),
            seen.by_address,
            top.claim,
            top.host,
            top.is_from_itself,
            FINDINGS[row.finding].is_enforced,
            ignored_on,
        )

    def count(self, key: bytes | None, value: bytes, found: FastConnection, before: int | None, now: int) -> int:
        """Count a connection that is routine; returns its time, or `NO_MOMENT` if it has to be decided.

        `key` and `value` are the record's, `found` is what the value holds. One at or after `before` is left alone.
        `now` is the moment whose timers fire (UTC milliseconds).
        """
        at = found.observed_at
        if not EARLIEST_MS <= at <= self._latest or key != found.tenant_id:
            return NO_MOMENT
        seen = self._headers.find(value, found)
        if seen is None:
            return NO_MOMENT
        build = seen.build
        row = self._row_of(seen.key, found.tenant_id)
        if row is None:
            return NO_MOMENT
        span = self._span_at(at)
        believed, judged_at, last_seen_at = row.build, row.judged_at, row.last_seen_at
        if (
            not may_be_routine(
                at,
                found.connector,
                build,
                row.judged_over,
                believed,
                judged_at,
                last_seen_at,
                row.reported_at,
                row.routine_until,
                span.starts_at,
            )
            or not 1 <= len(found.event_id) <= MAX_EVENT_ID_CHARS
            or len(found.connector_id) > MAX_TEXT_CHARS
            or not (row.is_report_due or may_make_report_due(now, row.indexed, row.clock_at, row.reported_at))
        ):
            return NO_MOMENT
        source_ip = found.source_ip
        if source_ip != row.source_ip:
            address = canonical_address(source_ip.decode("ascii"))
            if address is None:
                return NO_MOMENT
            source_ip = address.encode("ascii")
        mark = fingerprint(at, found.event_id)
        is_late = at <= last_seen_at
        if is_late and seen_recently(row.marks, mark):
            return NO_MOMENT
        stamp: StampRow | None = None
        shows = IGNORED
        if at >= judged_at:
            shows = BELIEVED
            if build is None:
                if is_late or row.is_mixed:
                    return NO_MOMENT
            else:
                stamps, by_address, holds_ms = row.stamps(), seen.by_address, span.stamp_holds_ms
                stamp = repeated_stamp(stamps, believed, build, by_address, source_ip, at, holds_ms)
                if stamp is None or row.is_mixed:
                    stamp, shows = self._look_closer(seen, row, stamp, at, source_ip, span)
                    if stamp is None:
                        return NO_MOMENT
        if before is None or at < before:
            self._count(seen, row, found, mark, source_ip, stamp, shows, now)
            if self._kernel is not None and shows == IGNORED and at >= judged_at:
                top = self._kernel.unknown
                if top is not None and top.shown is seen:
                    top.ticket = self._ticket_of(top, seen, row, at // DAY_MS)
        return at

    def _count(
        self,
        seen: ShownServer,
        row: ServerRow,
        found: FastConnection,
        mark: bytes,
        source_ip: bytes,
        stamp: StampRow | None,
        shows: int,
        now: int,
    ) -> None:
        if not row.is_report_due:
            self._repository.make_report_due(seen.key, row, now)
        at, outcome, refused_before = found.observed_at, found.outcome, found.refused_before
        counts = self._counts[row.finding]
        counts[outcome] += 1
        if refused_before:
            counts[REJECTED] += refused_before
        is_judged = shows != IGNORED
        if at <= row.last_seen_at:
            row.count_late(at, outcome, mark, seen.build is not None, stamp, refused_before, is_judged)
        else:
            row.count(at, outcome, mark, found.connector_id, source_ip, stamp, refused_before, is_judged)
        if shows == ACCEPTED:
            row.note_accepted(at)
        elif shows == REFUSED:
            row.note_refused(at)
        self._cache.change(seen.key, row)

    def _row_of(self, key: bytes, tenant_id: bytes) -> ServerRow | None:
        """The row of the server; None where there is none, or it may have to be caught up first."""
        sweeps = self._sweeps.of
        if sweeps and tenant_id.decode() in sweeps:
            return None
        row = self._cache.rows.get(key)
        # State of a misplaced tenant, from before such records were refused, counts no more.
        if row is None and (self._placement is None or self._placement.holds(tenant_id)):
            row = self._cache.row(key)
        return row

    def _look_closer(
        self, seen: ShownServer, row: ServerRow, stamp: StampRow | None, at: int, source_ip: bytes, span: RuleSpan
    ) -> tuple[StampRow | None, int]:
        """The stamp that a connection repeats, and what its build is to a server that is mixed, or shows another one.

        `stamp` is it where the build is the one that is believed. Gives no stamp where it has to be decided.
        """
        build, starts_at = seen.build, span.starts_at
        if stamp is not None:
            noted_at = self._details_of(seen.key, row).refused_at
            return (stamp, REFUSED) if may_be_routine_of_mixed(at, noted_at, starts_at) else (None, REFUSED)
        if build is None or not FINDINGS[row.finding].is_enforced:
            return None, BELIEVED
        stamps, by_address, holds_ms = row.stamps(), seen.by_address, span.stamp_holds_ms
        details = self._details_of(seen.key, row)
        if row.is_mixed:
            accepted = details.accepted_build
            stamp = repeated_stamp(stamps, accepted, build, by_address, source_ip, at, holds_ms)
            if stamp is not None and may_be_routine_of_mixed(at, accepted_noted_at(details), starts_at):
                return stamp, ACCEPTED
        stamp = repeated_stamp(stamps, build, build, by_address, source_ip, at, holds_ms)
        if stamp is not None and details.is_in_episode:
            connector_type = CONNECTOR_TYPES[row.judged_over]
            if tells_nothing(judgement_of_build(details.key, build, at, connector_type, self._rulebook)):
                return stamp, IGNORED
        return None, IGNORED

    def _details_of(self, key: bytes, row: ServerRow) -> ServerEnforcement:
        is_larger = not row.is_decoded
        details = row.details()
        if is_larger:
            self._cache.count(key, row)
        return details

    def _span_at(self, at: int) -> RuleSpan:
        span = self._span
        if not span.starts_at <= at < span.ends_at:
            span = self._span = self._rulebook.span_at(at)
        return span


@lru_cache(1024)  # many servers have the same
def _packed(build: Build | None) -> bytes:
    return b"" if build is None else BUILD.pack(*numbers_of(build))
