"""The audit record of a command: its outcome, and what held for its subject before and after."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import TypeVar

from streams.domain.tenant.commands import CommandKind
from streams.domain.tenant.override import Override
from streams.domain.tenant.state import ExceptionGrant, Pause, TenantEnforcement
from streams.domain.time import iso

SHOWN_SPANS = 32
"""How many pauses, and how many exceptions, an audit record shows; of more, those that end last."""


class CommandOutcome(StrEnum):
    """How a command ended."""

    ACCEPTED = "ACCEPTED"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A command with its outcome; `before` and `after` hold what covers its subject, as JSON."""

    audit_id: str
    command_id: str | None
    tenant_id: str
    kind: CommandKind
    outcome: CommandOutcome
    reason: str | None
    issued_by: str
    occurred_at: int
    quota_left_days: int | None
    before: str | None
    after: str | None


def waivers_json(tenant: TenantEnforcement, server: str | None, override: Override | None, at: int) -> str:
    """What holds for the subject of a command from its moment on, as JSON."""
    pauses = tenant.pauses if server is None else tenant.server_pauses.get(server, ())
    shown: dict[str, object] = {
        "pauses": [{"starts_at": iso(pause.starts_at), "ends_at": iso(pause.ends_at)} for pause in _last_of(pauses, at)]
    }
    if server is not None:
        shown["exceptions"] = [
            {"starts_at": iso(item.starts_at), "ends_at": iso(item.ends_at), "owner": item.owner}
            for item in _last_of(tenant.exceptions.get(server, ()), at)
        ]
        shown["override"] = override and {"build": str(override.build), "ends_at": iso(override.ends_at)}
    return json.dumps(shown, separators=(",", ":"))


_Shown = TypeVar("_Shown", Pause, ExceptionGrant)


def _last_of(spans: Iterable[_Shown], at: int) -> list[_Shown]:
    """The spans that are not over before `at`, as many as an audit record shows."""
    return sorted((span for span in spans if span.ends_at >= at), key=attrgetter("ends_at"))[-SHOWN_SPANS:]
