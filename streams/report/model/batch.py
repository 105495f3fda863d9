"""A batch of records of the topics that the model reads, decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from streams.domain.keys import ServerKey
from streams.kafka.places import Place

SERVERS, VERDICTS, NOTIFICATIONS, AUDIT = "server_report", "verdict", "admin_notification", "audit_record"
READ: Final = (SERVERS, VERDICTS, NOTIFICATIONS, AUDIT)
"""The topics that the model is made of, by the names of their schemas."""


class Read(NamedTuple):
    """A record of a topic: where it stands, when it was written (UTC milliseconds), its subject, and what it holds.

    `key` has an empty server where it is about a tenant. `record` is None for a tombstone. `detail` is the record as
    its row keeps it, where whoever decoded it made that too.
    """

    place: Place
    offset: int
    written_at: int
    key: ServerKey
    record: dict[str, Any] | None
    detail: str | None = None


class Unreadable(NamedTuple):
    """A record that is none of its topic, or the last of a batch that cannot be read."""

    place: Place
    offset: int
    written_at: int
    reason: str


@dataclass(slots=True)
class Batch:
    """What was read of some partitions.

    `sources` names the topic behind each topic's name, so that one that was made again is noticed. `begins` and `ends`
    are positions: everything between them that the topic holds is in the batch, in order. `waits` has the first record
    of a partition whose schema is waited for; the partition ends in front of it.
    """

    sources: Mapping[str, str]
    begins: dict[Place, int] = field(default_factory=dict)
    ends: dict[Place, int] = field(default_factory=dict)
    servers: Sequence[Read] = ()
    verdicts: Sequence[Read] = ()
    notifications: Sequence[Read] = ()
    audits: Sequence[Read] = ()
    unreadable: Sequence[Unreadable] = ()
    waits: Mapping[Place, Unreadable] = field(default_factory=dict)
