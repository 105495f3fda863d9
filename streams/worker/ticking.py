"""What time brings for the servers and tenants of one partition: due timers, put-off changes, new sets of policies.

`p/policies` names the set of policies that the due index knows of, `p/progress` how far a new set has been taken over.
"""

from __future__ import annotations

import heapq
import logging

from streams.domain.keys import ServerKey
from streams.domain.policy.rulebook import Rulebook
from streams.engine.partition.view import StateView
from streams.errors import is_records_fault
from streams.kafka.record import Headers
from streams.log_events import log_event
from streams.service.enforcer import Enforcer
from streams.state.keys import (
    POLICIES_KEY,
    PROGRESS_KEY,
    parse_server_key,
    parse_timer_key,
    timer_key,
    timers_due_range,
)
from streams.worker.repository import PartitionRepository

log = logging.getLogger(__name__)


class Ticker:
    """Fires timers and catches servers up, some at a time; `rulebook` is always the one in force."""

    def __init__(self, repository: PartitionRepository) -> None:
        self._repository = repository
        self._taken_over: bytes | None = None

    def fire(self, view: StateView, rulebook: Rulebook, moment: int, limit: int) -> bool:
        """Fire timers due at or before `moment` (UTC milliseconds), in due order; True when some are left."""
        rows = self._repository
        rows.timers.advance(view)
        queue = [key for key, _ in view.scan(*timers_due_range(moment), limit)]
        has_more = len(queue) == limit
        last_due = parse_timer_key(queue[-1])[0] if has_more else moment
        enforcer = Enforcer(rows, rulebook)
        while queue and not view.is_full:
            row = heapq.heappop(queue)
            due, key = parse_timer_key(row)
            view.put(row, None)
            rows.timers.changed(row, -1)
            indexed = self._advance(view, enforcer, key, due, due, fired=row)
            if indexed is not None and indexed <= last_due:
                heapq.heappush(queue, timer_key(indexed, key))
        return has_more or bool(queue)

    def sweep(
        self, view: StateView, rulebook: Rulebook, tenant_id: str, limit: int, stream_time: int, headers: Headers
    ) -> None:
        """Bring the next servers of a tenant up to its commands; every output gets `headers`."""
        rows, sweeps = self._repository, self._repository.sweeps
        rows.cache.flush()
        servers = sweeps.next_servers(tenant_id, limit)
        enforcer = Enforcer(rows, rulebook)
        done = 0
        for key in servers:
            if view.is_full:
                break
            sweeps.begin_passing(key)
            self._advance(view, enforcer, key, None, stream_time, headers)
            sweeps.end_passing(key)
            done += 1
        sweeps.end_slice(tenant_id, done == len(servers) < limit)

    def _advance(
        self,
        view: StateView,
        enforcer: Enforcer,
        key: ServerKey,
        due: int | None,
        now: int,
        headers: Headers = (),
        fired: bytes | None = None,
    ) -> int | None:
        """Fire what is due of a server or a tenant, whatever of it can be written; without `due` only catch it up.

        Gives the moment under which the due index holds it from then on. A timer comes from no record that could be a
        dead letter instead, and would fail again at every start.

        Args:
            view: of the unit.
            enforcer: decides about the states of the repository.
            key: of the server, its name `TENANT` for the tenant itself.
            due: up to which moment timers fire, UTC milliseconds.
            now: the moment whose timers fire, or up to which the stream has come.
            headers: what every output gets.
            fired: the row of the due index that is gone because its timer fires.
        """
        rows = self._repository
        try:
            effects = enforcer.catch_up(key) if due is None else enforcer.tick(key, due)
            changes = rows.prepare(effects, now, headers, fired, leaves_out=True)
        except Exception as error:
            if not is_records_fault(error):
                raise
            log.critical(
                "partition %d: a timer of server %r of tenant %s failed: %s: %s",
                *(view.partition, key.server, key.tenant_id, type(error).__name__, str(error)[:1000]),
                extra=log_event("timer_failed", partition=view.partition, reason=type(error).__name__),
            )
            return None
        rows.commit(changes)
        return changes.indexed.get(key)

    def knows_policies(self, view: StateView, rulebook: Rulebook) -> bool:
        """Whether the due index knows of every policy in force or to come."""
        if self._taken_over is None:
            self._taken_over = view.get(POLICIES_KEY) or b""
        return self._taken_over == rulebook.fingerprint.encode()

    def take_over_policies(self, view: StateView, rulebook: Rulebook, limit: int) -> bool:
        """Put the due moments right of servers that a new set of policies concerns; True when some are left."""
        if self.knows_policies(view, rulebook):
            return False
        self._repository.cache.flush()
        wanted = rulebook.fingerprint.encode()
        progress = view.get(PROGRESS_KEY) or b""
        about, _, last = progress.partition(b"\n")
        start = last + b"\0" if about == wanted else b"s/"
        rows = [row for row, _ in view.scan(start, b"s0", limit)]
        enforcer = Enforcer(self._repository, rulebook)
        done = 0
        for row in rows:
            if view.is_full:
                break
            self._advance(view, enforcer, parse_server_key(row), 0, 0)
            done += 1
        if done < len(rows) or len(rows) == limit:
            if done:
                view.put(PROGRESS_KEY, wanted + b"\n" + rows[done - 1])
            return True
        view.put(PROGRESS_KEY, None)
        view.put(POLICIES_KEY, wanted)
        self._taken_over = wanted
        return False
