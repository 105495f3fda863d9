"""Connections and commands of one partition, in units of work: decode, decide, apply.

Most connections change nothing but what is counted: see `routine_path`. Every other one is decided. What time brings is
in `ticking`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from streams.clock import wall_clock_ms
from streams.domain.exchange.detection import HostRun
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.tenant.commands import AdminCommand
from streams.domain.time import LATEST_MS, MINUTE_MS
from streams.domain.validation import MAX_AHEAD_MS
from streams.engine.partition.placement import Placement
from streams.engine.partition.view import StateView
from streams.engine.ports import Record
from streams.engine.telemetry import SILENT, Telemetry
from streams.kafka.record import Headers
from streams.service.effects import Effects
from streams.service.enforcer import Enforcer
from streams.wire.fast_connection import decode_fast
from streams.wire.fast_headers import FastHeaders
from streams.worker.channels import RecordChannels
from streams.worker.progress import SignsOfLife
from streams.worker.reading import Read, RecordReader, timestamp_in
from streams.worker.repository import PartitionRepository
from streams.worker.routine_path import HAS_KERNEL, NO_MOMENT, RoutinePath
from streams.worker.server_cache import SERVER_BYTES
from streams.worker.sweeps import MAX_PUT_OFF
from streams.worker.ticking import Ticker

SERVERS_AT_ONCE: Final = 200
"""Servers that a tenant-wide command changes in its own unit of work; and in each unit that a later one has to wait."""
LATENESS_MS = 5 * MINUTE_MS
"""While a partition has a backlog, its clock stays this far behind its stream time."""
CACHED_SERVERS: Final = 80_000
"""Servers that a partition keeps in memory unless it is told: the bytes of their rows and of as many topmost lines."""


class InputProcessor:
    """The processor of one partition.

    `fast_headers` begin the values that may be read in part. `replay_until` (UTC milliseconds) takes the place of the
    wall clock: time moves with the records, and to that moment when the partition is at its end. `telemetry` is told
    with every unit how many timers wait, and follows records that are decided, never those that are only counted.
    `decided` counts the records that were not only counted. `placement` tells records that belong into another
    partition, which a processor without partitions does not ask for. `servers_at_once` bounds what a tenant-wide
    command changes with its own record.
    """

    def __init__(
        self,
        rulebook: Callable[[], Rulebook],
        wires: RecordChannels,
        fast_headers: FastHeaders,
        replay_until: int | None = None,
        now: Callable[[], int] = wall_clock_ms,
        cached_servers: int = CACHED_SERVERS,
        telemetry: Telemetry = SILENT,
        placement: Placement | None = None,
        servers_at_once: int = SERVERS_AT_ONCE,
        signs: SignsOfLife | None = None,
        has_kernel: bool = HAS_KERNEL,
    ) -> None:
        """Process one partition.

        Args:
            rulebook: returns the rulebook in force.
            wires: topics and codecs of inputs and outputs.
            fast_headers: begin the values that the fast decoder takes.
            replay_until: UTC milliseconds; replaces the wall clock. Time moves with the records, and to this moment
                when the partition is at its end. None for a live service.
            now: the wall clock, UTC milliseconds.
            cached_servers: how many servers to keep in memory, in bytes of their rows and of as many topmost lines.
            telemetry: gets the number of pending timers with every unit; traces records that are decided, never those
                that are only counted.
            placement: detects records in the wrong partition; None for a processor without partitions.
            servers_at_once: the most servers that a tenant-wide command changes in its own unit of work.
            signs: the partition's signs of life; None for a processor that gives none.
            has_kernel: count plainly routine connections in the compiled kernel.
        """
        self._rulebook, self._wires, self._fast_headers = rulebook, wires, fast_headers
        self._replay_until, self._now = replay_until, now
        self.decided = 0
        self._stream_time = 0
        self._repository = PartitionRepository(wires, cached_servers * SERVER_BYTES)
        self._ticker = Ticker(self._repository)
        self._routine_path = RoutinePath(self._repository, cached_servers, placement, fast_headers, has_kernel)
        self._reader = RecordReader(wires, placement, self._wall_clock)
        self._telemetry = telemetry
        self._servers_at_once = servers_at_once
        self._signs = signs
        self._has_records = self._is_caught_up = False

    @property
    def cached_bytes(self) -> int:
        """What is kept in memory of servers and their topmost lines, as it is counted: no less than it takes."""
        return self._repository.cache.counted_bytes + self._routine_path.cached_bytes

    def _wall_clock(self) -> int | None:
        return self._now() if self._replay_until is None else None

    def timestamp_of(self, record: Record) -> int:
        """When the record happened; 0 for one that will be a dead letter."""
        is_connection = record.topic == self._wires.connections_topic and record.value is not None
        found = decode_fast(record.value or b"", self._fast_headers) if is_connection else None
        return timestamp_in(self._reader.read(record, found))

    # --- units of work ---

    def begin(self, view: StateView) -> None:
        """See `Processor`."""
        self._repository.begin(view)
        self._has_records = False

    def finish(self, view: StateView) -> None:
        """See `Processor`."""
        self._routine_path.finish()
        self._repository.finish()
        if (count := self._repository.timers.count) is not None:
            self._telemetry.timers_counted(view.partition, count)
        if self._signs is not None:
            has_records, is_caught_up = self._has_records, self._is_caught_up
            self._signs.finish(
                view, self._rulebook(), self._stream_time, has_records=has_records, is_caught_up=is_caught_up
            )

    def on_records(self, view: StateView, records: Sequence[Record], before: int | None) -> int:
        """See `Processor`."""
        self._has_records = True
        if records and records[0].topic != self._wires.connections_topic:
            return self._on_commands(view, records, before)
        latest = LATEST_MS - 1 if self._replay_until is not None else self._now() + MAX_AHEAD_MS
        if not self._ticker.knows_policies(view, self._rulebook()):
            latest = 0  # no connection is early enough to be only counted
        path, headers = self._routine_path, self._fast_headers
        path.begin(self._rulebook(), latest)
        index = 0
        while True:
            if not view.is_full:
                index, moment = path.count_plain(records, index, before)
                self._stream_time = max(self._stream_time, moment)
            if index == len(records) or view.is_full:
                return index
            record = records[index]
            value = record.value
            found = decode_fast(value, headers) if value is not None else None
            moment = NO_MOMENT
            if value is not None and found is not None:
                moment = path.count(record.key, value, found, before, self._stream_time)
            if moment == NO_MOMENT:
                read = self._reader.read(record, found)
                if before is not None and timestamp_in(read) >= before:
                    return index
                self._decide(view, record, read, found.run if found is not None else None)
            elif before is not None and moment >= before:
                return index
            elif moment > self._stream_time:
                self._stream_time = moment
            index += 1

    def _on_commands(self, view: StateView, records: Sequence[Record], before: int | None) -> int:
        for index, record in enumerate(records):
            if view.is_full:
                return index
            read = self._reader.read(record, None)
            if self._has_to_wait(view, read) or (before is not None and timestamp_in(read) >= before):
                return index
            self._decide(view, record, read)
        return len(records)

    def _has_to_wait(self, view: StateView, read: Read) -> bool:
        """Whether too much of the tenant's earlier commands is put off; does a part of it then, and ends the unit."""
        sweeps = self._repository.sweeps
        if not isinstance(read, AdminCommand) or read.tenant_id not in sweeps.of:
            return False
        if len(sweeps.of[read.tenant_id].changes) < MAX_PUT_OFF:
            return False
        self._sweep(view, read.tenant_id, self._servers_at_once)
        view.close()
        return True

    def _decide(self, view: StateView, record: Record, read: Read, run: HostRun | None = None) -> None:
        if record.topic != self._wires.connections_topic:
            self._repository.cache.flush()  # a command may look for all servers of its tenant
        self.decided += 1
        headers: Headers = ()
        trace = self._telemetry.begin_trace(record)
        if trace is not None:
            headers = trace.headers
            view.notes.traces.append(trace)
        try:
            effects = self._effects_of(read, run)
            changes = self._repository.prepare(effects, self._stream_time, headers)
        except Exception as error:  # noqa: BLE001 - the view decides whose fault it is
            if trace is not None:
                trace.failed(error)
            view.reject(record, error)
            return
        self._stream_time = max(self._stream_time, timestamp_in(read))
        if isinstance(read, InboundConnection):
            self._repository.commit(changes, read.observed_at)
            self._repository.counters.decided(read, effects.finding)
        else:
            self._repository.commit(changes)
        if effects.put_off is not None:
            self._sweep(view, effects.put_off[0], self._servers_at_once, headers)

    def _effects_of(self, read: Read, run: HostRun | None) -> Effects:
        enforcer = Enforcer(self._repository, self._rulebook())
        match read:
            case InboundConnection() as connection:
                return enforcer.connection(connection, run)
            case AdminCommand() as command:
                return enforcer.command(command)
            case error:
                raise error

    # --- time ---

    def tick_moment(self, is_caught_up: bool) -> int | None:
        """The wall clock when nothing is left to read, the stream's time less some lateness during a backlog."""
        self._is_caught_up = is_caught_up
        if is_caught_up:
            # Not the latest event's moment: one that is far ahead would age every other server of the partition.
            return self._now() if self._replay_until is None else self._replay_until
        # At 0 no timer is due, but what was put off goes on.
        return self._stream_time - LATENESS_MS if self._replay_until is None and self._stream_time else 0

    def on_tick(self, view: StateView, moment: int, limit: int) -> bool:
        """Fire timers due at or before `moment`, in due order, and go on with what was put off; True when some is left.

        Each kind gets its turn, whatever the others still have to do.
        """
        has_more = self._ticker.take_over_policies(view, self._rulebook(), limit)
        if sweeps := self._repository.sweeps.of:
            self._sweep(view, next(iter(sweeps)), limit)
            has_more = has_more or bool(sweeps)
        return self._ticker.fire(view, self._rulebook(), moment, limit) or has_more

    def _sweep(self, view: StateView, tenant_id: str, limit: int, headers: Headers = ()) -> None:
        self._ticker.sweep(view, self._rulebook(), tenant_id, limit, self._stream_time, headers)
