"""What the API gives: moments as ISO 8601 in UTC with milliseconds, rates as minutes of each hour."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import starmap
from typing import Any, Generic, TypeVar

from msgspec import Struct

from streams.domain.time import iso
from streams.report.queries.pauses import Waiver
from streams.report.queries.rows import ServerSummary
from streams.report.web.coming import AnnouncedPolicy

Row = TypeVar("Row")


class Page(Struct, Generic[Row], frozen=True):
    """Rows, and the cursor that continues behind them; null behind the last."""

    items: list[Row]
    next_cursor: str | None


class Server(Struct, frozen=True):
    """A row of the list of servers; `deferred` and `rejected` count connections that were delayed and refused."""

    tenant_id: str
    server: str
    status: str
    stage: int
    finding: str
    action: str
    identity: str
    build: str | None
    build_name: str | None
    exchange_server: str | None
    next_stage_at: str | None
    next_throttle_minutes_per_hour: int | None
    next_block_minutes_per_hour: int | None
    throttle_minutes_per_hour: int | None
    block_minutes_per_hour: int | None
    remedy_name: str | None
    remedy_kb: str | None
    first_seen_at: str
    last_seen_at: str
    connections: int
    accepted: int
    deferred: int
    rejected: int
    paused_until: str | None
    exempt_until: str | None
    override_until: str | None
    reason: str
    since: str
    reported_at: str


class Interval(Struct, frozen=True):
    """What held about a server from when to when; `ends_at` is null for what holds now."""

    begins_at: str
    ends_at: str | None
    status: str
    stage: int
    finding: str
    build: str | None
    reason: str
    policy_id: str
    policy_version: int
    verdict_revision: int


class ServerInFull(Struct, frozen=True):
    """One server: its row, its report and its verdict as the topics have them, and what held before, newest first.

    The report has schedule and evidence; `docs/reference/topics.md` describes both records.
    """

    summary: Server
    report: dict[str, Any]
    verdict: dict[str, Any] | None
    history: list[Interval]


class Summary(Struct, frozen=True):
    """How many servers have each status; the moment whose topics this shows, null before it was known."""

    tenant_id: str
    servers: dict[str, int]
    as_of: str | None


class StageCount(Struct, frozen=True):
    """How many servers had a status and a stage at the end of a day."""

    status: str
    stage: int
    servers: int


class Day(Struct, frozen=True):
    """A UTC day: servers at its end, and its connections."""

    day: str
    servers: list[StageCount]
    accepted: int
    delayed: int
    refused: int


class Waived(Struct, frozen=True):
    """A pause or an exception: of a server, or of the whole tenant where `server` is null."""

    kind: str
    server: str | None
    starts_at: str
    ends_at: str
    issued_by: str
    owner: str | None


class Pauses(Struct, frozen=True):
    """Pauses and exceptions, those that end last first; days of pause left in this calendar year (UTC)."""

    items: list[Waived]
    quota_left_days: int
    is_paused: bool


class Audited(Struct, frozen=True):
    """What became of a command or a publication: the record, and the server that it was about."""

    record: dict[str, Any]
    server: str | None


class Outcome(Struct, frozen=True):
    """What became of a command: ACCEPTED, REFUSED with the reason, or PENDING where no worker has answered yet."""

    command_id: str
    outcome: str
    reason: str | None
    quota_left_days: int | None


def moment(at: int | None) -> str | None:
    """A moment of UTC milliseconds as the API writes it."""
    return None if at is None else iso(at)


_MOMENTS = frozenset(
    ServerSummary._fields.index(name)
    for name in (
        *("next_at", "first_seen_at", "last_seen_at", "paused_until", "exempt_until", "override_until", "since"),
        "reported_at",
    )
)


def cells_of(
    rows: Iterable[ServerSummary], write: Callable[[Any], Any] = lambda value: value
) -> Iterator[tuple[Any, ...]]:
    """The values of servers' rows in the order of the fields of `Server`, as `write` has them."""
    columns: list[Iterable[Any]] = list(zip(*rows, strict=True))
    for place, values in enumerate(columns):
        # A column says the same again and again: statuses, builds, updates, nulls. Each value is written once.
        written = {value: write(moment(value) if place in _MOMENTS else value) for value in set(values)}
        columns[place] = map(written.__getitem__, values)
    return zip(*columns, strict=True)


def servers_of(rows: Iterable[ServerSummary]) -> list[Server]:
    """Servers' rows."""
    return list(starmap(Server, cells_of(rows)))


def waived_of(one: Waiver) -> Waived:
    """A pause or an exception."""
    return Waived(one.kind, one.server, iso(one.starts_at), iso(one.ends_at), one.issued_by, one.owner)


class Announced(Struct, frozen=True):
    """A policy or a catalogue of builds that begins later; a catalogue has no mode."""

    name: str
    effective_at: str
    announced_at: str
    mode: str | None

    @classmethod
    def of(cls, one: AnnouncedPolicy) -> Announced:
        """It in the API's form."""
        return cls(one.name, iso(one.effective_at), iso(one.announced_at), one.mode)


class HitServer(Struct, frozen=True):
    """A server that stands elsewhere once what is announced has begun; the remedy is the update that it needs then."""

    server: str
    build: str | None
    finding_before: str
    finding_after: str
    stage_before: int
    stage_after: int
    action_before: str
    action_after: str
    reason: str
    remedy_name: str | None
    remedy_kb: str | None
