"""A policy: what is accepted, from when on, for whom, and how enforcement grows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from streams.domain.exchange.build import JUDGED_PRODUCTS, Build, Product

ANNOUNCE_DAYS = 30
"""How far ahead a policy is announced that was not published but given as a file."""


class ConnectorType(StrEnum):
    """How a tenant hands mail over."""

    ON_PREMISES = "ON_PREMISES"
    PARTNER = "PARTNER"
    NONE = "NONE"


CONNECTORS = tuple(ConnectorType)
"""Connector types by the number that stands for them, which is that of their symbol in the schema."""


class Accept(StrEnum):
    """What a policy accepts of one product."""

    NONE = "none"
    ALL = "all"
    FLOOR = "floor"


class Mode(StrEnum):
    """How far a policy goes: count only, tell the administrators, or throttle and block."""

    OBSERVE = "observe"
    REPORT = "report"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class ProductRule:
    """What is accepted of one product; `floors` holds the oldest accepted build of each accepted CU line."""

    accept: Accept
    floors: tuple[Build, ...] = ()

    def floor_of(self, build: Build) -> Build | None:
        """The oldest accepted build of the CU line of `build`, None for an unlisted line."""
        return next((floor for floor in self.floors if floor.cu_line == build.cu_line), None)


@dataclass(frozen=True, slots=True)
class CriticalPatches:
    """Fail builds that miss a fix more than `grace_days` after it came out."""

    grace_days: int
    known_exploited_only: bool = True


MAX_LADDER_DAYS = 3650
"""No stage begins later: ten years."""


class Stage(NamedTuple):
    """One step of the ladder; rates are minutes of each hour, `from_day` is enforcement time in days."""

    from_day: int
    throttle_minutes_per_hour: int
    block_minutes_per_hour: int


DEFAULT_LADDER = (
    Stage(0, 0, 0),
    Stage(30, 5, 0),
    Stage(40, 10, 0),
    Stage(50, 20, 0),
    Stage(60, 30, 5),
    Stage(70, 30, 10),
    Stage(80, 30, 20),
    Stage(90, 0, 60),
)
"""Microsoft's published ladder for Exchange Online."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of a policy; governs events and clock ticks from `effective_at` (UTC) on.

    `products` has a rule for each of `JUDGED_PRODUCTS`: what a policy does not name must not be blocked by silence. A
    build that is not accepted within `settle_hours` of an episode's end makes the server a mixed one. A lower stamp of
    the same machine does not take a higher one back before `stamp_holds_days`.

    Raises:
        ValueError: `products` leaves one out.
    """

    policy_id: str
    version: int
    effective_at: datetime
    products: dict[Product, ProductRule]
    mode: Mode = Mode.ENFORCE
    connector_types: frozenset[ConnectorType] = frozenset({ConnectorType.ON_PREMISES})
    rollout: dict[Product, date] = field(default_factory=dict)
    cohort_percent: int = 100
    critical_patches: CriticalPatches | None = None
    ladder: tuple[Stage, ...] = DEFAULT_LADDER
    pause_days_per_year: int = 90
    resume_within_days: int = 30
    settle_hours: int = 24
    stamp_holds_days: int = 7
    stale_after_days: int = 30
    forget_after_days: int = 400
    notify_before_days: tuple[int, ...] = (7, 1)
    published_at: datetime | None = None

    def __post_init__(self) -> None:
        missing = [product.value for product in JUDGED_PRODUCTS if product not in self.products]
        if missing:
            raise ValueError(f"products: {', '.join(missing)}: missing; every known product needs a rule")

    @property
    def announced_at(self) -> datetime:
        """From when on its effects are announced: its publication, or a month ahead if that is not known."""
        return self.published_at or self.effective_at - timedelta(days=ANNOUNCE_DAYS)

    def enforces_tenant(self, tenant_id: str) -> bool:
        """Whether the tenant is in the cohort; raising the percentage never drops a tenant that was in."""
        place = int.from_bytes(hashlib.sha256(tenant_id.encode()).digest()[:8], "big") % 10_000
        return place < self.cohort_percent * 100


def ladder_errors(ladder: Sequence[Stage | None]) -> list[str]:
    """What is wrong with a ladder, as `ladder[i].field: value: rule`; empty for a good one.

    Stages begin at day 0, days grow, and neither the blocked minutes nor the affected minutes ever shrink. None stands
    for a stage that is no such thing; the others are checked all the same.
    """
    if not ladder:
        return ["ladder: empty: at least one stage is needed"]
    errors: list[str] = []
    before: Stage | None = None
    for index, stage in enumerate(ladder):
        if stage is not None:
            errors += _stage_errors(index, stage, before)
            before = stage
    return errors


def _stage_errors(index: int, stage: Stage, before: Stage | None) -> Iterator[str]:
    name, affected = f"ladder[{index}]", stage.throttle_minutes_per_hour + stage.block_minutes_per_hour
    if index == 0 and stage.from_day != 0:
        yield f"{name}.from_day: {stage.from_day}: the first stage begins at day 0"
    if not 0 <= stage.from_day <= MAX_LADDER_DAYS:
        yield f"{name}.from_day: {stage.from_day}: must be 0 to {MAX_LADDER_DAYS}"
    for field_name in ("throttle_minutes_per_hour", "block_minutes_per_hour"):
        if not 0 <= getattr(stage, field_name) <= 60:
            yield f"{name}.{field_name}: {getattr(stage, field_name)}: must be 0 to 60"
    if affected > 60:
        yield f"{name}: {affected}: throttle and block together exceed 60 minutes an hour"
    if before is None:
        return
    if stage.from_day <= before.from_day:
        yield f"{name}.from_day: {stage.from_day}: must be above {before.from_day}"
    less = affected < before.throttle_minutes_per_hour + before.block_minutes_per_hour
    if less or stage.block_minutes_per_hour < before.block_minutes_per_hour:
        rates = f"{stage.throttle_minutes_per_hour}+{stage.block_minutes_per_hour}"
        yield f"{name}: {rates}: less strict than the stage before"
