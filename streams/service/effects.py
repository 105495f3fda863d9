"""What comes of an event: states to keep and records to write. Nothing is stored or written here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from streams.domain.keys import ServerKey
from streams.domain.policy.judgement import Finding
from streams.domain.policy.ladder import ClockStop
from streams.domain.server.decide import Emitted, Forgotten
from streams.domain.server.state import ServerEnforcement
from streams.domain.tenant.audit import AuditRecord
from streams.domain.tenant.state import TenantEnforcement
from streams.domain.tenant.waivers import Waivers

TENANT: Final = ""
"""Stands for the tenant itself where a due moment names a server."""


class TenantChange(NamedTuple):
    """What a tenant-wide command changes at `at` (UTC milliseconds) for each server that the tenant has by then.

    `before` and `after` are the spans of the tenant's pauses. `own` has what covers a server beside them, before and
    after, of those servers where the command changes that too.
    """

    at: int
    before: tuple[ClockStop, ...]
    after: tuple[ClockStop, ...]
    own: Mapping[str, tuple[Waivers, Waivers]]


class KeptServer:
    """The state of a server to keep, None to forget it, and when its next timer is due (UTC milliseconds)."""

    __slots__ = ("due_at", "key", "state")

    def __init__(self, key: ServerKey, state: ServerEnforcement | None, due_at: int | None) -> None:
        self.key, self.state, self.due_at = key, state, due_at


class KeptTenant:
    """The state of a tenant to keep, and when its next timer is due (UTC milliseconds)."""

    __slots__ = ("due_at", "tenant")

    def __init__(self, tenant: TenantEnforcement, due_at: int | None) -> None:
        self.tenant, self.due_at = tenant, due_at


class Effects:
    """What an event changes and what is to be written, each in order: of the same server, the last state stays.

    `put_off` is a change that every server of the event's tenant known by now has to be caught up with some time.
    """

    __slots__ = ("kept", "outputs", "put_off")

    def __init__(self) -> None:
        self.kept: list[KeptServer | KeptTenant] = []
        self.outputs: list[Emitted | AuditRecord] = []
        self.put_off: tuple[str, TenantChange] | None = None

    def server(self, key: ServerKey) -> KeptServer | None:
        """The last that is kept of a server."""
        for kept in reversed(self.kept):
            if isinstance(kept, KeptServer) and kept.key == key:
                return kept
        return None

    def tenant(self, tenant_id: str) -> TenantEnforcement | None:
        """The last state that is kept of a tenant."""
        for kept in reversed(self.kept):
            if isinstance(kept, KeptTenant) and kept.tenant.tenant_id == tenant_id:
                return kept.tenant
        return None

    def forgotten_revision(self, key: ServerKey) -> int | None:
        """The last verdict revision of a server that these effects forget; None where they forget none."""
        for record in reversed(self.outputs):
            if isinstance(record, Forgotten) and record.key == key:
                return record.revision
        return None

    @property
    def finding(self) -> Finding | None:
        """What the server is found to be that is kept first; None where it is forgotten, or none is kept."""
        for kept in self.kept:
            if isinstance(kept, KeptServer):
                last = self.server(kept.key)
                return last.state.finding if last is not None and last.state is not None else None
        return None
