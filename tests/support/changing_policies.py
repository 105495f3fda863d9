"""Policies that judge some builds another way from one moment on, and what feeds around that moment are made of."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

from streams.domain.exchange.build import Product, parse_build
from streams.domain.policy.policy import CriticalPatches
from streams.domain.policy.rulebook import Rulebook
from streams.domain.time import DAY_MS, HOUR_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.wire.records import parse_moment

CHANGE = parse_moment("change", "2026-10-02T00:00:00Z")
"""In the middle of every feed; from here on each of the policies but the plain one judges some builds another way."""
SHIPPED = read_policy("microsoft-2026-09")
GRACE = CriticalPatches(grace_days=23, known_exploited_only=False)
"""The fixes of 8 September 2026 are insisted on from the change on, and those of 2 October 24 days later."""
ROLLOUT = SHIPPED.rollout | {Product.EXCHANGE_2016: date(2026, 10, 2), Product.EXCHANGE_2010: date(2026, 10, 3)}
EXACT_FLOOR = SHIPPED.products[Product.EXCHANGE_2016]
LOWER_FLOOR = replace(EXACT_FLOOR, floors=(parse_build("15.1.2507.39"),))
SWITCHED = datetime(2026, 10, 2, 0, 0, 7, 123_000, UTC)
POLICIES = {
    "plain": (SHIPPED,),
    "critical patches": (replace(SHIPPED, critical_patches=GRACE),),
    "rollout": (replace(SHIPPED, rollout=ROLLOUT),),
    "switch": (
        replace(SHIPPED, products=SHIPPED.products | {Product.EXCHANGE_2016: LOWER_FLOOR}, stamp_holds_days=1),
        replace(SHIPPED, version=2, effective_at=SWITCHED, critical_patches=replace(GRACE, grace_days=24)),
    ),
}
RULEBOOKS = {name: Rulebook(policies, shipped_catalogue()) for name, policies in POLICIES.items()}

REFUSED = (*(0,) * 90, 1, 7, 63, 64, 4_000, 2**31 - 1)
"""What an edge refused before a connection: mostly nothing, and at times more than the fast decoder takes."""
STEPS = (20_000, HOUR_MS // 30, HOUR_MS, DAY_MS)
"""Most milliseconds between two connections: feeds of twenty minutes, two hours, two days and a half, two months."""
