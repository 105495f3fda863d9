"""Decodes and checks what a partition reads: connections and commands."""

from __future__ import annotations

from collections.abc import Callable

from streams.domain.server.connection import InboundConnection
from streams.domain.server.sighting import check_sighting
from streams.domain.tenant.commands import AdminCommand, check_command
from streams.engine.partition.placement import Placement
from streams.engine.ports import Record
from streams.errors import DependencyError
from streams.wire.fast_connection import FastConnection
from streams.wire.records import command_of, connection_of
from streams.worker.channels import RecordChannels

Read = InboundConnection | AdminCommand | Exception
"""What a record holds, or why it will be a dead letter."""


class RecordReader:
    """Reads records; `now` returns the wall clock (UTC milliseconds), None where no record can be ahead of it."""

    def __init__(self, wires: RecordChannels, placement: Placement | None, now: Callable[[], int | None]) -> None:
        self._wires, self._placement, self._now = wires, placement, now

    def read(self, record: Record, found: FastConnection | None) -> Read:
        """What a record holds; `found` is what the fast decoder made of a connection, if it did.

        Raises:
            DependencyError: the record cannot be read now, which is not its fault.
        """
        try:
            if record.topic == self._wires.connections_topic:
                return self._connection(record, found)
            return self._command(record)
        except DependencyError:
            raise
        except Exception as error:  # noqa: BLE001 - the view decides whose fault it is
            return error

    def _connection(self, record: Record, found: FastConnection | None) -> InboundConnection:
        if found is None:
            connection = connection_of(self._wires.connections.decode(record.value))
        else:
            connection = found.connection()
        check_sighting(connection, record.key or b"", self._now())
        self._check_place(record)
        return connection

    def _command(self, record: Record) -> AdminCommand:
        command = command_of(self._wires.commands.decode(record.value))
        check_command(command, record.key or b"", self._now())
        self._check_place(record)
        return command

    def _check_place(self, record: Record) -> None:
        if self._placement is not None:
            self._placement.check(record.key or b"")


def timestamp_in(read: Read) -> int:
    """When what was read happened, UTC milliseconds; 0 for what will be a dead letter."""
    match read:
        case InboundConnection():
            return read.observed_at
        case AdminCommand():
            return read.issued_at
        case _:
            return 0
