"""What a feed must come to: the fold of the pure core, in one process and without Kafka."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from streams.cli.simulate import read_connection
from streams.domain.keys import ServerKey
from streams.domain.outputs.notification import AdminNotification
from streams.domain.outputs.server_report import ServerReport
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.decide import Forgotten
from streams.domain.tenant.audit import AuditRecord
from streams.domain.tenant.commands import AdminCommand, check_command
from streams.domain.validation import MalformedError
from streams.kafka.partitioner import kafka_partition
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.effects import TENANT
from streams.service.simulation import Simulation
from streams.wire.records import command_of, command_record

Emitted = Verdict | AdminNotification | ServerReport | Forgotten | AuditRecord


class Fold(Simulation):
    """A simulation that keeps the rows as they follow each other, and what was refused."""

    def __init__(self, rulebook: Rulebook) -> None:
        super().__init__(rulebook)
        self.rows: list[ServerReport | Forgotten] = []
        self.refused: list[bytes] = []

    def due_of(self, kind: str, key: Any) -> int:
        """When the next timer of a server (`ServerKey`) or a tenant (its id) is due."""
        return self._due_of.get(ServerKey(key, TENANT) if kind == "tenant" else key, sys.maxsize)

    def emit(self, emitted: Emitted) -> None:
        """See `Repository`."""
        super().emit(emitted)
        if isinstance(emitted, ServerReport | Forgotten):
            self.rows.append(emitted)


@dataclass(frozen=True, slots=True)
class Step:
    """Connections and commands that are there together, and then the moment to which every clock moves.

    `ahead_of_ms` is the wall clock of the worker that reads them, where it is so far behind that they are refused.
    """

    connections: Iterable[bytes]
    commands: Iterable[bytes] = ()
    until_ms: int | None = None
    ahead_of_ms: int | None = None


def fold(steps: Sequence[Step], policies: Sequence[str], partitions: int) -> Fold:
    """Run the steps through the core.

    The merge is that of `streams.service.simulation.simulate`, which ends after one step and does not show its states.
    """
    result = Fold(Rulebook(tuple(read_policy(name) for name in policies), shipped_catalogue()))
    for step in steps:
        _take(result, step, lambda tenant: kafka_partition(tenant.encode(), partitions))
        if step.until_ms is not None:
            result.advance(max(step.until_ms, result.stream_time))
    return result


def _take(result: Fold, step: Step, partition_of: Callable[[str], int]) -> None:
    waiting: dict[int, deque[AdminCommand]] = {}
    partitions: dict[str, int] = {}
    for line in step.commands:
        try:
            command = command_of(command_record(line))
            check_command(command)
        except MalformedError:
            result.refused.append(line)
        else:
            waiting.setdefault(partition_of(command.tenant_id), deque()).append(command)
    for line in step.connections:
        try:
            connection = read_connection(line)
        except MalformedError:
            result.refused.append(line)
            continue
        if step.ahead_of_ms is not None and connection.observed_at > step.ahead_of_ms:
            result.refused.append(line)
            continue
        tenant = connection.tenant_id
        if tenant not in partitions:
            partitions[tenant] = partition_of(tenant)
        queue: Any = waiting.get(partitions[tenant])
        while queue and queue[0].issued_at <= connection.observed_at:
            result.command(queue.popleft())
        result.feed(connection)
    for queue in waiting.values():
        for command in queue:
            result.command(command)
