"""Connections and commands of one partition: decode, decide, emit; and the due timers of its servers and tenants.

Most connections change nothing but what is counted. Those are recognised on the raw bytes and counted in their server's
row; every other one is decoded and decided. Both ways give the same state.

Rows in the state store: see `rows`. `p/policies` names the set of policies that the due index knows of, `p/progress`
how far a new set has been taken over.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from streams.domain.bounds import MAX_TEXT_CHARS
from streams.domain.exchange.names import canonical_address
from streams.domain.policy.rulebook import NO_SPAN, Rulebook
from streams.domain.server.connection import MAX_EVENT_ID_CHARS, InboundConnection
from streams.domain.server.routine import may_be_routine
from streams.domain.server.sighting import check_sighting
from streams.domain.server.state import fingerprint, seen_recently
from streams.domain.tenant.commands import AdminCommand, check_command
from streams.domain.time import EARLIEST_MS, LATEST_MS, MINUTE_MS
from streams.domain.validation import MAX_AHEAD_MS
from streams.engine.partition.placement import Placement
from streams.engine.partition.view import StateView
from streams.engine.ports import Record
from streams.engine.telemetry import SILENT, Telemetry
from streams.errors import DependencyError, is_records_fault
from streams.log_events import log_event
from streams.service.enforcer import Enforcer
from streams.state.keys import POLICIES_KEY, PROGRESS_KEY, parse_timer_key, timer_key, timers_due_range
from streams.state.server_row import StampRow
from streams.wire.fast_connection import FastConnection, decode_fast
from streams.wire.records import command_of, connection_of
from streams.worker.header_cache import HeaderCache
from streams.worker.repository import SERVER_BYTES, PartitionRepository, RecordChannels
from streams.worker.sweeps import MAX_PUT_OFF

log = logging.getLogger(__name__)

SERVERS_AT_ONCE: Final = 200
"""Servers that a tenant-wide command changes in its own unit of work; and in each unit that a later one has to wait."""
LATENESS_MS = 5 * MINUTE_MS
"""While a partition has a backlog, its clock stays this far behind its stream time."""
CACHED_SERVERS: Final = 50_000
"""Servers that a partition keeps in memory unless it is told: the bytes of their rows and of as many topmost lines."""


def wall_clock() -> int:
    """Now, UTC milliseconds."""
    return time.time_ns() // 1_000_000


class InputProcessor:
    """The processor of one partition.

    `header` begins the values that may be read in part. `replay_until` (UTC milliseconds) takes the place of the wall
    clock: time moves with the records, and to that moment when the partition is at its end. `telemetry` is told
    with every unit how many timers wait, and follows records that are decided, never those that are only counted.
    `decided` counts the records that were not only counted. `placement` tells records that belong into another
    partition, which a processor without partitions does not ask for. `servers_at_once` bounds what a tenant-wide
    command changes with its own record.
    """

    def __init__(
        self,
        rulebook: Callable[[], Rulebook],
        wires: RecordChannels,
        header: bytes,
        replay_until: int | None = None,
        now: Callable[[], int] = wall_clock,
        cached_servers: int = CACHED_SERVERS,
        telemetry: Telemetry = SILENT,
        placement: Placement | None = None,
        servers_at_once: int = SERVERS_AT_ONCE,
    ) -> None:
        self._rulebook, self._wires, self._header = rulebook, wires, header
        self._replay_until, self._now = replay_until, now
        self.decided = 0
        self._stream_time = 0
        self._taken_over: bytes | None = None
        self._headers = HeaderCache(cached_servers)
        self._repository = PartitionRepository(wires, cached_servers * SERVER_BYTES)
        self._routine = self._repository.counters.routine
        self._telemetry = telemetry
        self._servers_at_once = servers_at_once
        self._placement = placement
        self._span, self._span_of = NO_SPAN, ""
        self._projected: FastConnection | None = None
        self._projected_of: Record | None = None
        self._decoded: tuple[Record, InboundConnection | AdminCommand | Exception] | None = None

    @property
    def cached_bytes(self) -> int:
        """What is kept in memory of servers and their topmost lines, as it is counted: no less than it takes."""
        return self._repository.servers_bytes + self._headers.counted_bytes

    def timestamp_of(self, record: Record) -> int:
        """When the record happened; 0 for one that will be a dead letter."""
        found = self._read(record)
        match found:
            case InboundConnection():
                return found.observed_at
            case AdminCommand():
                return found.issued_at
            case _:
                return 0

    def _read(self, record: Record) -> InboundConnection | AdminCommand | Exception:
        if self._decoded is None or self._decoded[0] is not record:
            try:
                found: InboundConnection | AdminCommand | Exception = self._checked(record)
            except DependencyError:
                raise
            except Exception as error:
                found = error
            self._decoded = (record, found)
        return self._decoded[1]

    def _checked(self, record: Record) -> InboundConnection | AdminCommand:
        now = self._now() if self._replay_until is None else None
        if record.topic == self._wires.connections_topic:
            found = self._project(record)
            if found is None:
                connection = connection_of(self._wires.connections.decode(record.value))
            else:
                connection = found.connection()
            check_sighting(connection, record.key or b"", now)
            self._check_place(record)
            return connection
        command = command_of(self._wires.commands.decode(record.value))
        check_command(command, record.key or b"", now)
        self._check_place(record)
        return command

    def _project(self, record: Record) -> FastConnection | None:
        """What the record's value projects to; once for a record that is looked at twice."""
        if self._projected_of is not record:
            self._projected = decode_fast(record.value, self._header) if record.value is not None else None
            self._projected_of = record
        return self._projected

    def _check_place(self, record: Record) -> None:
        if self._placement is not None:
            self._placement.check(record.key or b"")

    # --- units of work ---

    def begin(self, view: StateView) -> None:
        """See `Processor`."""
        self._repository.begin(view)

    def finish(self, view: StateView) -> None:
        """See `Processor`."""
        self._repository.finish()
        if (count := self._repository.timers.count) is not None:
            self._telemetry.timers_counted(view.partition, count)

    def on_records(self, view: StateView, records: Sequence[Record], before: int | None) -> int:
        """See `Processor`."""
        is_source = bool(records) and records[0].topic == self._wires.connections_topic
        latest = LATEST_MS - 1 if self._replay_until is not None else self._now() + MAX_AHEAD_MS
        if not (is_source and self._knows_policies(view)):
            latest = 0  # no connection is early enough to be only counted
        if self._span_of != (fingerprint := self._rulebook().fingerprint):
            self._span, self._span_of = NO_SPAN, fingerprint
        for index, record in enumerate(records):
            if view.is_full or (not is_source and self._has_to_wait(view, record)):
                return index
            moment = self._count_routine(record, latest, before) if latest else None
            if moment is None:
                if before is not None and self.timestamp_of(record) >= before:
                    return index
                self._decide(view, record)
            elif before is not None and moment >= before:
                return index
        return len(records)

    def _count_routine(self, record: Record, latest: int, before: int | None) -> int | None:
        """Count a connection that changes nothing else; gives its moment, or None where it has to be decided.

        One at or after `before` is left as it is.
        """
        value = record.value
        if value is None:
            return None
        found = decode_fast(value, self._header)
        self._projected, self._projected_of = found, record
        if found is None or not EARLIEST_MS <= found.observed_at <= latest or record.key != found.tenant_id:
            return None
        seen = self._headers.find(value, found)
        if seen is None:
            return None
        key, build = seen.key, seen.build
        if self._repository.sweeps.of and found.tenant_id.decode() in self._repository.sweeps.of:
            return None  # its server may have to be caught up first
        row = self._repository.servers.get(key)
        # State of a misplaced tenant, from before such records were refused, counts no more.
        if row is None and (self._placement is None or self._placement.holds(found.tenant_id)):
            row = self._repository.row(key)
        span = self._span
        if not span.starts_at <= found.observed_at < span.ends_at:
            span = self._span = self._rulebook().span_at(found.observed_at)
        if (
            row is None
            or not may_be_routine(
                found.observed_at,
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
            return None
        source_ip = found.source_ip
        if source_ip != row.source_ip:
            address = canonical_address(source_ip.decode("ascii"))
            if address is None:
                return None
            source_ip = address.encode("ascii")
        mark = fingerprint(found.observed_at, found.event_id)
        is_late = found.observed_at <= row.last_seen_at
        if is_late and seen_recently(row.marks, mark):
            return None
        stamp: StampRow | None = None
        if build is not None and not is_late:
            stamp = row.stamp_of(build, seen.by_address, source_ip, found.observed_at, span.stamp_holds_ms)
            if stamp is None:
                return None
        if before is None or found.observed_at < before:
            self._routine[row.finding][found.outcome] += 1
            if is_late:
                row.count_late(found.observed_at, found.outcome, mark, build is not None)
            else:
                row.count(found.observed_at, found.outcome, mark, found.connector_id, source_ip, stamp)
            self._repository.change(key, row)
            self._stream_time = max(self._stream_time, found.observed_at)
        return found.observed_at

    def _has_to_wait(self, view: StateView, record: Record) -> bool:
        """Whether too much of the tenant's earlier commands is put off; does a part of it then, and ends the unit."""
        found, sweeps = self._read(record), self._repository.sweeps
        if not isinstance(found, AdminCommand) or found.tenant_id not in sweeps.of:
            return False
        if len(sweeps.of[found.tenant_id].changes) < MAX_PUT_OFF:
            return False
        self._sweep(view, found.tenant_id, self._servers_at_once)
        view.close()
        return True

    def _decide(self, view: StateView, record: Record) -> None:
        if record.topic != self._wires.connections_topic:
            self._repository.flush()  # a command may look for all servers of its tenant
        self.decided += 1
        view.savepoint()
        self._repository.now = self._stream_time
        trace = self._telemetry.begin_trace(record)
        if trace is not None:
            view.headers = trace.headers
            view.notes.traces.append(trace)
        try:
            self._process(record)
            self._repository.prepare()
        except Exception as error:
            self._repository.discard()
            if trace is not None:
                trace.failed(error)
            view.reject(record, error)
        else:
            begun = self._repository.sweeps.begun
            self._repository.commit()
            if begun is not None:
                self._sweep(view, begun, self._servers_at_once)
        view.headers = ()

    def _process(self, record: Record) -> None:
        enforcer = Enforcer(self._repository, self._rulebook())
        match self._read(record):
            case InboundConnection() as connection:
                enforcer.connection(connection)
                self._repository.counters.decided(connection, self._repository.finding)
                self._stream_time = max(self._stream_time, connection.observed_at)
            case AdminCommand() as command:
                enforcer.command(command)
                self._stream_time = max(self._stream_time, command.issued_at)
            case error:
                raise error

    # --- time ---

    def tick_moment(self, is_caught_up: bool) -> int | None:
        """The wall clock when nothing is left to read, the stream's time less some lateness during a backlog."""
        if is_caught_up:
            # Not the latest event's moment: one that is far ahead would age every other server of the partition.
            return self._now() if self._replay_until is None else self._replay_until
        # At 0 no timer is due, but what was put off goes on.
        return self._stream_time - LATENESS_MS if self._replay_until is None and self._stream_time else 0

    def on_tick(self, view: StateView, moment: int, limit: int) -> bool:
        """Fire timers due at or before `moment`, in due order, and go on with what was put off; True when some is left.

        Each kind gets its turn, whatever the others still have to do.
        """
        has_more = self._take_over_policies(view, limit)
        if sweeps := self._repository.sweeps.of:
            self._sweep(view, next(iter(sweeps)), limit)
            has_more = has_more or bool(sweeps)
        return self._fire(view, moment, limit) or has_more

    def _fire(self, view: StateView, moment: int, limit: int) -> bool:
        rows = self._repository
        rows.timers.advance(view)
        queue = [key for key, _ in view.scan(*timers_due_range(moment), limit)]
        has_more = len(queue) == limit
        last_due = parse_timer_key(queue[-1])[0] if has_more else moment
        enforcer = Enforcer(rows, self._rulebook())
        while queue and not view.is_full:
            row = heapq.heappop(queue)
            due, tenant_id, server = parse_timer_key(row)
            view.put(row, None)
            rows.timers.changed(row, -1)
            rows.fired = row
            rows.fire_at(due)
            self._advance(view, enforcer, tenant_id, server, due)
            rows.fired = None
            if rows.indexed is not None and rows.indexed <= last_due:
                heapq.heappush(queue, timer_key(rows.indexed, tenant_id, server))
        return has_more or bool(queue)

    def _sweep(self, view: StateView, tenant_id: str, limit: int) -> None:
        """Bring the next servers of a tenant up to its commands."""
        rows, sweeps = self._repository, self._repository.sweeps
        rows.flush()
        servers = sweeps.next_servers(tenant_id, limit)
        enforcer = Enforcer(rows, self._rulebook())
        done = 0
        for server in servers:
            if view.is_full:
                break
            sweeps.begin_passing(tenant_id, server)
            rows.now = self._stream_time
            self._advance(view, enforcer, tenant_id, server, None)
            sweeps.end_passing(tenant_id, server)
            done += 1
        sweeps.end_slice(tenant_id, done == len(servers) < limit)

    def _advance(self, view: StateView, enforcer: Enforcer, tenant_id: str, server: str, due: int | None) -> None:
        """Fire what is due of a server or a tenant, whatever of it can be written; without `due` only catch it up.

        A timer comes from no record that could be a dead letter instead, and would fail again at every start.
        """
        rows = self._repository
        for leaves_out in (False, True):
            view.savepoint()
            rows.leaves_out = leaves_out
            try:
                if due is None:
                    enforcer.catch_up(tenant_id, server)
                else:
                    enforcer.tick(tenant_id, server, due)
                rows.prepare()
            except Exception as error:
                rows.discard()
                rows.indexed = None
                view.rollback()
                if not is_records_fault(error):
                    raise
                if leaves_out:
                    log.critical(
                        "partition %d: a timer of %r of tenant %s failed: %s: %s",
                        *(view.partition, server, tenant_id, type(error).__name__, str(error)[:1000]),
                        extra=log_event("timer_failed", partition=view.partition, reason=type(error).__name__),
                    )
            else:
                rows.commit()
                break
        rows.leaves_out = False

    def _knows_policies(self, view: StateView) -> bool:
        """Whether the due index knows of every policy in force or to come."""
        if self._taken_over is None:
            self._taken_over = view.get(POLICIES_KEY) or b""
        return self._taken_over == self._rulebook().fingerprint.encode()

    def _take_over_policies(self, view: StateView, limit: int) -> bool:
        """Put the due moments right of servers that a new set of policies concerns; True when some are left."""
        if self._knows_policies(view):
            return False
        self._repository.flush()
        rulebook = self._rulebook()
        wanted = rulebook.fingerprint.encode()
        progress = view.get(PROGRESS_KEY) or b""
        about, _, last = progress.partition(b"\n")
        start = last + b"\0" if about == wanted else b"s/"
        keys = [key for key, _ in view.scan(start, b"s0", limit)]
        enforcer = Enforcer(self._repository, rulebook)
        done = 0
        for key in keys:
            if view.is_full:
                break
            tenant_id, _, server = key[2:].decode().partition("/")
            self._repository.now = 0
            self._advance(view, enforcer, tenant_id, server, 0)
            done += 1
        if done < len(keys) or len(keys) == limit:
            if done:
                view.put(PROGRESS_KEY, wanted + b"\n" + keys[done - 1])
            return True
        view.put(PROGRESS_KEY, None)
        view.put(POLICIES_KEY, wanted)
        self._taken_over = wanted
        return False
