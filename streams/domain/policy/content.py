"""The policy that a tree of plain values describes, as of YAML or of a record, and everything that is wrong with it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any

from streams.domain.bounds import MAX_KEY_CHARS
from streams.domain.exchange.build import JUDGED_PRODUCTS, Build, Product, parse_build
from streams.domain.exchange.catalogue import Catalogue
from streams.domain.policy.policy import (
    DEFAULT_LADDER,
    Accept,
    ConnectorType,
    CriticalPatches,
    Mode,
    Policy,
    ProductRule,
    Stage,
    ladder_errors,
)

UNKNOWN_LINE = "is of a CU line that is not in the catalogue"
MAX_ERRORS = 100
"""Of one policy; a text can be wrong in more places than anyone reads."""
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_SHORT_NAMES = {product.value.removeprefix("Exchange Server ").removesuffix(" Server"): product for product in Product}
_ABSENT = object()
_UNNAMED = dict.fromkeys(JUDGED_PRODUCTS, ProductRule(Accept.NONE))
"""Only completes a policy that is refused, so that its other fields are checked too."""
_POLICY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class PolicyError(ValueError):
    """A policy that is refused; `errors` holds every reason as `source:line: field: value: rule`."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


def check_content(content: Any, source: str, lines: dict[str, int], catalogue: Catalogue) -> Policy:
    """The policy that a YAML tree describes; `lines` has the line of each field's path, for errors.

    Raises:
        PolicyError: with every error found.
    """
    reader = _Reader(source, lines, catalogue)
    policy = reader.policy(content)
    if reader.errors:
        raise PolicyError(reader.errors)
    return policy


class _Reader:
    """Takes a YAML tree apart and collects what is wrong, so that all errors come at once.

    A name that goes into paths is cut: each of many errors would repeat a long one.
    """

    def __init__(self, source: str, lines: dict[str, int], catalogue: Catalogue) -> None:
        self.source, self.lines, self.catalogue = source, lines, catalogue
        self.errors: list[str] = []

    def error(self, path: str, value: object, rule: str) -> None:
        if len(self.errors) >= MAX_ERRORS:
            return
        at = path
        while at and at not in self.lines:
            at = at.rpartition(".")[0]
        self.errors.append(f"{self.source}:{self.lines.get(at, 1)}: {path}: {str(value)[:120]!r}: {rule}")

    def mapping(self, path: str, value: Any, known: set[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.error(path or "policy", value, "must be a mapping")
            return {}
        for key in value:
            if key not in known:
                self.error(
                    f"{path}.{str(key)[:MAX_KEY_CHARS]}".lstrip("."),
                    key,
                    f"unknown field; known are {', '.join(sorted(known))}",
                )
        return value

    def integer(self, path: str, value: Any, low: int, high: int, default: int) -> int:
        if value is _ABSENT:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.error(path, value, f"must be a whole number from {low} to {high}")
            return default
        return value

    def choice(self, path: str, value: Any, known: list[str]) -> str:
        if value in known:
            return str(value)
        self.error(path, value, f"must be one of {', '.join(known)}")
        return known[0]

    def sequence(self, path: str, value: Any) -> list[Any]:
        if isinstance(value, list):
            return value
        self.error(path, value, "must be a list")
        return []

    def day(self, path: str, value: Any) -> date:
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        self.error(path, value, "must be a date like 2026-09-01")
        return date.max

    def moment(self, path: str, value: Any) -> datetime:
        found = value
        try:
            if isinstance(value, str):
                found = datetime.fromisoformat(value)
            elif isinstance(value, date) and not isinstance(value, datetime):
                found = datetime(value.year, value.month, value.day, tzinfo=UTC)
            if isinstance(found, datetime):
                found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
                if _EARLIEST <= found < _LATEST:
                    # Records hold milliseconds: a file must not say another moment than what is published of it.
                    return found.replace(microsecond=found.microsecond // 1000 * 1000)
        except (ValueError, OverflowError):
            pass
        self.error(path, value, "must be a timestamp from 2000 to 2099, like 2026-09-01T00:00:00Z")
        return _EARLIEST

    def product(self, path: str, value: Any) -> Product | None:
        found = _SHORT_NAMES.get(str(value)) or next((item for item in Product if item.value == value), None)
        if found is None or found is Product.EXCHANGE_ONLINE:
            self.error(path, value, f"unknown product; known are {', '.join(JUDGED_PRODUCTS)}")
            return None
        return found

    def policy(self, content: Any) -> Policy:
        top = self.mapping(
            "",
            content,
            {"policy_id", "version", "effective_at", "mode", "scope", "products", "critical_patches", "ladder"}
            | {"pause_days_per_year", "regression", "settle_hours", "stamp_holds_days"}
            | {"stale_after_days", "forget_after_days", "notify_before_days"}
            | {"description", "sources"},
        )
        for name in ("policy_id", "version", "effective_at", "products"):
            if name not in top:
                self.error(name, "", "is missing")
        policy_id = top.get("policy_id", "missing")
        if not isinstance(policy_id, str) or not _POLICY_ID.fullmatch(policy_id):
            self.error("policy_id", policy_id, "must match [A-Za-z0-9._-]{1,64}")
        scope = self.mapping("scope", top.get("scope", {}), {"connector_types", "rollout", "cohort_percent"})
        regression = self.mapping("regression", top.get("regression", {}), {"resume_within_days"})
        stale = self.integer("stale_after_days", top.get("stale_after_days", _ABSENT), 1, 3650, 30)
        forget = self.integer("forget_after_days", top.get("forget_after_days", _ABSENT), 1, 3650, 400)
        if forget <= stale:
            self.error("forget_after_days", forget, f"must be above stale_after_days ({stale})")
        names = self.sequence("scope.connector_types", scope.get("connector_types", ["ON_PREMISES"]))
        kinds = [item.value for item in ConnectorType]
        notices = self.sequence("notify_before_days", top.get("notify_before_days", [7, 1]))
        resume = regression.get("resume_within_days", _ABSENT)
        return Policy(
            policy_id=str(policy_id),
            version=self.integer("version", top.get("version", _ABSENT), 1, 1_000_000, 1),
            effective_at=self.moment("effective_at", top.get("effective_at", date(2000, 1, 1))),
            products=_UNNAMED | (self.products(top["products"]) if "products" in top else {}),
            mode=Mode(self.choice("mode", top.get("mode", "enforce"), [item.value for item in Mode][::-1])),
            connector_types=frozenset(
                ConnectorType(self.choice(f"scope.connector_types[{index}]", name, kinds))
                for index, name in enumerate(names)
            ),
            rollout=self.rollout(scope.get("rollout", {})),
            cohort_percent=self.integer("scope.cohort_percent", scope.get("cohort_percent", _ABSENT), 0, 100, 100),
            critical_patches=self.critical_patches(top.get("critical_patches")),
            ladder=self.ladder(top.get("ladder", _ABSENT)),
            pause_days_per_year=self.integer(
                "pause_days_per_year", top.get("pause_days_per_year", _ABSENT), 0, 366, 90
            ),
            resume_within_days=self.integer("regression.resume_within_days", resume, 0, 3650, 30),
            settle_hours=self.integer("settle_hours", top.get("settle_hours", _ABSENT), 1, 720, 24),
            stamp_holds_days=self.integer("stamp_holds_days", top.get("stamp_holds_days", _ABSENT), 0, 365, 7),
            stale_after_days=stale,
            forget_after_days=forget,
            notify_before_days=tuple(
                self.integer(f"notify_before_days[{index}]", days, 1, 365, 1) for index, days in enumerate(notices)
            ),
        )

    def rollout(self, value: Any) -> dict[Product, date]:
        if not isinstance(value, dict):
            self.error("scope.rollout", value, "must be a mapping from product to date")
            return {}
        found: dict[Product, date] = {}
        for name, begins in value.items():
            path = f"scope.rollout.{str(name)[:MAX_KEY_CHARS]}"
            if product := self.product(path, name):
                if product in found:
                    self.error(path, name, f"names {product.value} twice")
                found[product] = self.day(path, begins)
        return found

    def products(self, value: Any) -> dict[Product, ProductRule]:
        if not isinstance(value, dict) or not value:
            self.error("products", value, "must be a mapping from product to its rule")
            return {}
        found: dict[Product, ProductRule] = {}
        for name, rule in value.items():
            path = f"products.{str(name)[:MAX_KEY_CHARS]}"
            product = self.product(path, name)
            if product in found:
                self.error(path, name, f"names {product} twice")
            fields = self.mapping(path, rule, {"accept", "floor", "floors"})
            accept = Accept(self.choice(f"{path}.accept", fields.get("accept"), [item.value for item in Accept]))
            listed = fields.get("floors", fields.get("floor", []))
            rows = self.sequence(f"{path}.floors", [listed] if isinstance(listed, str) else listed)
            floors = [self.floor(f"{path}.floors[{index}]", row, product) for index, row in enumerate(rows)]
            builds = tuple(build for build in floors if build is not None)
            if accept is Accept.FLOOR and not builds:
                self.error(f"{path}.floors", listed, "accept: floor needs the oldest accepted build of each CU line")
            if accept is not Accept.FLOOR and builds:
                self.error(f"{path}.floors", listed, f"only accept: floor has floors, not {accept.value}")
            if len({build.cu_line for build in builds}) < len(builds):
                self.error(f"{path}.floors", listed, "names one CU line twice")
            if product is not None:
                found[product] = ProductRule(accept, builds)
        for product in JUDGED_PRODUCTS:
            if product not in found:
                self.error(
                    f"products.{product.value}", "", "is missing; every known product needs accept: none, all or floor"
                )
        return found

    def floor(self, path: str, value: Any, product: Product | None) -> Build | None:
        try:
            build = parse_build(str(value))
        except ValueError as error:
            self.error(path, value, str(error))
            return None
        if product is not None and build.product is not product:
            self.error(path, value, f"is not a build of {product.value}")
        elif not self.catalogue.knows_line(build):
            self.error(path, value, UNKNOWN_LINE)
        return build

    def critical_patches(self, value: Any) -> CriticalPatches | None:
        if value is None:
            return None
        fields = self.mapping("critical_patches", value, {"grace_days", "known_exploited_only"})
        only = fields.get("known_exploited_only", True)
        if not isinstance(only, bool):
            self.error("critical_patches.known_exploited_only", only, "must be true or false")
        if "grace_days" not in fields:
            self.error("critical_patches.grace_days", "", "is missing")
        grace = fields.get("grace_days", _ABSENT)
        return CriticalPatches(self.integer("critical_patches.grace_days", grace, 0, 3650, 0), bool(only))

    def ladder(self, value: Any) -> tuple[Stage, ...]:
        if value is _ABSENT:
            return DEFAULT_LADDER
        stages: list[Stage | None] = []
        names = ("from_day", "throttle_minutes_per_hour", "block_minutes_per_hour")
        for index, row in enumerate(self.sequence("ladder", value)):
            path, before = f"ladder[{index}]", len(self.errors)
            fields = self.mapping(path, row, set(names))
            numbers = [self.whole_number(f"{path}.{name}", fields.get(name)) for name in names]
            stages.append(Stage(*numbers) if len(self.errors) == before else None)
        for error in ladder_errors(stages):
            path, shown, rule = error.split(": ", 2)
            self.error(path, shown, rule)
        return tuple(stage for stage in stages if stage is not None)

    def whole_number(self, path: str, value: Any) -> int:
        """A number whose range is a rule that is told elsewhere."""
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        self.error(path, value, "must be a whole number")
        return 0
