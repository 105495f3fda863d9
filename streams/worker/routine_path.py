"""Counts the connections that change nothing but what is counted, without deciding them.

Such a connection is recognised in its bytes, and counted in its server's row. Both ways give the same state; which
connections are such ones is a rule of the domain, see `routine`.
"""

from __future__ import annotations

from typing import Final

from streams.domain.bounds import MAX_TEXT_CHARS
from streams.domain.exchange.names import canonical_address
from streams.domain.policy.rulebook import NO_SPAN, Rulebook, RuleSpan
from streams.domain.server.connection import MAX_EVENT_ID_CHARS
from streams.domain.server.mixed import accepted_noted_at
from streams.domain.server.routine import may_be_routine, may_be_routine_of_mixed
from streams.domain.server.state import ServerEnforcement, fingerprint, seen_recently
from streams.domain.time import EARLIEST_MS
from streams.engine.partition.placement import Placement
from streams.state.server_row import ServerRow
from streams.state.stamp_row import StampRow, repeated_stamp
from streams.wire.fast_connection import FastConnection
from streams.worker.counters import REJECTED
from streams.worker.header_cache import HeaderCache
from streams.worker.repository import PartitionRepository

NO_MOMENT: Final = -1
"""Of a connection that has to be decided."""


class RoutinePath:
    """The short way of one partition's connections; `rulebook` is the one in force, `latest` what `begin` is given."""

    def __init__(self, repository: PartitionRepository, cached_servers: int, placement: Placement | None) -> None:
        self._cache, self._sweeps, self._placement = repository.cache, repository.sweeps, placement
        self._headers = HeaderCache(cached_servers)
        self._counts = repository.counters.routine
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

    def count(self, key: bytes | None, value: bytes, found: FastConnection, before: int | None) -> int:
        """Count a connection that is routine; returns its time, or `NO_MOMENT` if it has to be decided.

        `key` and `value` are the record's, `found` is what the value holds. One at or after `before` is left alone.
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
        if (
            not may_be_routine(
                at,
                found.connector,
                build,
                row.judged_over,
                row.build,
                row.judged_at,
                row.last_seen_at,
                row.reported_at,
                row.routine_until,
                span.starts_at,
            )
            or not 1 <= len(found.event_id) <= MAX_EVENT_ID_CHARS
            or len(found.connector_id) > MAX_TEXT_CHARS
        ):
            return NO_MOMENT
        source_ip = found.source_ip
        if source_ip != row.source_ip:
            address = canonical_address(source_ip.decode("ascii"))
            if address is None:
                return NO_MOMENT
            source_ip = address.encode("ascii")
        mark = fingerprint(at, found.event_id)
        is_late = at <= row.last_seen_at
        stamp: StampRow | None = None
        is_accepted = False
        if is_late:
            if seen_recently(row.marks, mark):
                return NO_MOMENT
        elif build is not None:
            by_address, holds_ms = seen.by_address, span.stamp_holds_ms
            stamp = repeated_stamp(row.stamps, row.build, build, by_address, source_ip, at, holds_ms)
            if row.is_mixed:
                details = self._details_of(seen.key, row)
                noted_at = details.refused_at
                if stamp is None:
                    is_accepted = True
                    stamp = repeated_stamp(
                        row.stamps, details.accepted_build, build, by_address, source_ip, at, holds_ms
                    )
                    noted_at = accepted_noted_at(details)
                if not may_be_routine_of_mixed(at, noted_at, span.starts_at):
                    return NO_MOMENT
            if stamp is None:
                return NO_MOMENT
        elif row.is_mixed:
            return NO_MOMENT
        if before is None or at < before:
            counts, refused_before = self._counts[row.finding], found.refused_before
            counts[found.outcome] += 1
            if refused_before:
                counts[REJECTED] += refused_before
            if is_late:
                row.count_late(at, found.outcome, mark, build is not None, refused_before)
            else:
                row.count(at, found.outcome, mark, found.connector_id, source_ip, stamp, refused_before)
                if is_accepted:
                    row.note_accepted(at)
                elif row.is_mixed:
                    row.note_refused(at)
            self._cache.change(seen.key, row)
        return at

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
