"""Every field of a policy: what it is without being named, which values it takes, and what is said of others."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from streams.domain.exchange.build import JUDGED_PRODUCTS, Product, parse_build
from streams.domain.policy.content import PolicyError, check_content
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
from streams.policies.catalogue.files import shipped_catalogue

AT = datetime(2026, 9, 1, tzinfo=UTC)
LEAST: dict[str, Any] = {
    "policy_id": "least",
    "version": 1,
    "effective_at": AT,
    "products": {product.value: {"accept": "none"} for product in JUDGED_PRODUCTS},
}
NONE: dict[Product, ProductRule] = dict.fromkeys(JUDGED_PRODUCTS, ProductRule(Accept.NONE))
OF_PRODUCTS = ", ".join(JUDGED_PRODUCTS)
INTEGERS = [
    ("version", "version", 1, 1_000_000),
    ("scope.cohort_percent", "cohort_percent", 0, 100),
    ("pause_days_per_year", "pause_days_per_year", 0, 366),
    ("regression.resume_within_days", "resume_within_days", 0, 3650),
    ("settle_hours", "settle_hours", 1, 720),
    ("stamp_holds_days", "stamp_holds_days", 0, 365),
]


def checked(**fields: Any) -> Policy:
    return check_content(LEAST | fields, "p", {}, shipped_catalogue())


def errors(**fields: Any) -> list[str]:
    with pytest.raises(PolicyError) as error:
        checked(**fields)
    assert str(error.value) == "\n".join(error.value.errors)
    return error.value.errors


def at(path: str, value: Any) -> dict[str, Any]:
    """The fields of a policy in which that of a path has a value."""
    outer, _, inner = path.partition(".")
    return {outer: {inner: value} if inner else value}


def of_products(**rules: Any) -> dict[str, Any]:
    return {"products": LEAST["products"] | {f"Exchange Server {name[1:]}": rule for name, rule in rules.items()}}


def test_a_policy_that_names_only_what_it_must_has_the_published_values_for_the_rest() -> None:
    assert checked() == Policy(
        policy_id="least",
        version=1,
        effective_at=AT,
        products=NONE,
        mode=Mode.ENFORCE,
        connector_types=frozenset({ConnectorType.ON_PREMISES}),
        rollout={},
        cohort_percent=100,
        critical_patches=None,
        ladder=DEFAULT_LADDER,
        pause_days_per_year=90,
        resume_within_days=30,
        settle_hours=24,
        stamp_holds_days=7,
        stale_after_days=30,
        forget_after_days=400,
        notify_before_days=(7, 1),
    )


def test_every_field_is_taken() -> None:
    floor = "15.1.2507.61"
    found = checked(
        policy_id="A.b_c-9",
        version=5,
        effective_at="2026-09-02T02:00:00.0019+02:00",
        mode="report",
        scope={"connector_types": ["PARTNER", "NONE"], "rollout": {"SE": date(2026, 3, 1)}, "cohort_percent": 12},
        **of_products(_2016={"accept": "floor", "floors": [floor]}, _SE={"accept": "all"}),
        critical_patches={"grace_days": 9, "known_exploited_only": False},
        ladder=[{"from_day": 0, "throttle_minutes_per_hour": 1, "block_minutes_per_hour": 2}],
        pause_days_per_year=3,
        regression={"resume_within_days": 4},
        settle_hours=5,
        stamp_holds_days=6,
        stale_after_days=8,
        forget_after_days=9,
        notify_before_days=[30, 3],
        description="some",
        sources=["any"],
    )
    assert found == Policy(
        policy_id="A.b_c-9",
        version=5,
        effective_at=datetime(2026, 9, 2, 0, 0, 0, 1000, tzinfo=UTC),
        products=NONE
        | {
            Product.EXCHANGE_2016: ProductRule(Accept.FLOOR, (parse_build(floor),)),
            Product.EXCHANGE_SE: ProductRule(Accept.ALL),
        },
        mode=Mode.REPORT,
        connector_types=frozenset({ConnectorType.PARTNER, ConnectorType.NONE}),
        rollout={Product.EXCHANGE_SE: date(2026, 3, 1)},
        cohort_percent=12,
        critical_patches=CriticalPatches(9, known_exploited_only=False),
        ladder=(Stage(0, 1, 2),),
        pause_days_per_year=3,
        resume_within_days=4,
        settle_hours=5,
        stamp_holds_days=6,
        stale_after_days=8,
        forget_after_days=9,
        notify_before_days=(30, 3),
    )


@pytest.mark.parametrize(("path", "name", "low", "high"), INTEGERS)
def test_a_number_is_taken_from_its_least_to_its_greatest(path: str, name: str, low: int, high: int) -> None:
    assert [getattr(checked(**at(path, value)), name) for value in (low, high)] == [low, high]
    for value in (low - 1, high + 1, "7", 7.0, True, None):
        assert errors(**at(path, value)) == [f"p:1: {path}: '{value}': must be a whole number from {low} to {high}"]


def test_days_of_silence_are_taken_from_one_to_ten_years() -> None:
    found = checked(stale_after_days=1, forget_after_days=3650)
    assert (found.stale_after_days, found.forget_after_days) == (1, 3650)
    assert checked(stale_after_days=3649, forget_after_days=3650).stale_after_days == 3649
    assert errors(stale_after_days=0) == ["p:1: stale_after_days: '0': must be a whole number from 1 to 3650"]
    assert errors(forget_after_days=3651) == ["p:1: forget_after_days: '3651': must be a whole number from 1 to 3650"]
    assert errors(forget_after_days=30) == ["p:1: forget_after_days: '30': must be above stale_after_days (30)"]
    assert checked(forget_after_days=31).forget_after_days == 31


def test_notices_are_given_from_a_day_to_a_year_ahead() -> None:
    assert checked(notify_before_days=[365, 1]).notify_before_days == (365, 1)
    assert errors(notify_before_days=[1, 0, 366]) == [
        "p:1: notify_before_days[1]: '0': must be a whole number from 1 to 365",
        "p:1: notify_before_days[2]: '366': must be a whole number from 1 to 365",
    ]


@pytest.mark.parametrize("policy_id", ["", "x" * 65, "a b", 7, "ä"])
def test_a_name_is_1_to_64_plain_characters(policy_id: Any) -> None:
    assert errors(policy_id=policy_id) == [f"p:1: policy_id: '{policy_id}': must match [A-Za-z0-9._-]{{1,64}}"]
    assert checked(policy_id="x" * 64).policy_id == "x" * 64


def test_what_must_be_named_is_asked_for() -> None:
    with pytest.raises(PolicyError) as error:
        check_content({}, "p", {}, shipped_catalogue())
    assert error.value.errors == [
        f"p:1: {name}: '': is missing" for name in ("policy_id", "version", "effective_at", "products")
    ]


@pytest.mark.parametrize("content", [None, [], "text"])
def test_a_policy_is_a_mapping(content: Any) -> None:
    with pytest.raises(PolicyError) as error:
        check_content(content, "p", {}, shipped_catalogue())
    assert error.value.errors[0] == f"p:1: policy: '{content}': must be a mapping"


def test_a_field_that_is_not_known_is_refused_with_those_that_are() -> None:
    known = (
        "critical_patches, description, effective_at, forget_after_days, ladder, mode, notify_before_days, "
        "pause_days_per_year, policy_id, products, regression, scope, settle_hours, sources, stale_after_days, "
        "stamp_holds_days, version"
    )
    assert errors(**{"x" * 300: 1}) == [f"p:1: {'x' * 64}: '{'x' * 120}': unknown field; known are {known}"]
    assert errors(scope={"at": 1}) == [
        "p:1: scope.at: 'at': unknown field; known are cohort_percent, connector_types, rollout"
    ]
    assert errors(regression={"at": 1}) == ["p:1: regression.at: 'at': unknown field; known are resume_within_days"]
    assert errors(critical_patches={"grace_days": 1, "at": 1}) == [
        "p:1: critical_patches.at: 'at': unknown field; known are grace_days, known_exploited_only"
    ]
    assert errors(**of_products(_SE={"accept": "all", "at": 1})) == [
        "p:1: products.Exchange Server SE.at: 'at': unknown field; known are accept, floor, floors"
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"mode": "off"}, "mode: 'off': must be one of enforce, report, observe"),
        ({"scope": 7}, "scope: '7': must be a mapping"),
        ({"scope": {"connector_types": "NONE"}}, "scope.connector_types: 'NONE': must be a list"),
        (
            {"scope": {"connector_types": ["NONE", "x"]}},
            "scope.connector_types[1]: 'x': must be one of ON_PREMISES, PARTNER, NONE",
        ),
        ({"scope": {"rollout": [1]}}, "scope.rollout: '[1]': must be a mapping from product to date"),
        (
            {"scope": {"rollout": {"2019": AT}}},
            f"scope.rollout.2019: '{AT}': must be a date like 2026-09-01",
        ),
        (
            {"scope": {"rollout": {"y" * 90: date(2026, 1, 1)}}},
            f"scope.rollout.{'y' * 64}: '{'y' * 90}': unknown product; known are {OF_PRODUCTS}",
        ),
        (
            {"scope": {"rollout": {"Exchange Online": date(2026, 1, 1)}}},
            f"scope.rollout.Exchange Online: 'Exchange Online': unknown product; known are {OF_PRODUCTS}",
        ),
        (
            {"scope": {"rollout": {2019: date(2026, 1, 1), "Exchange Server 2019": date(2026, 1, 1)}}},
            "scope.rollout.Exchange Server 2019: 'Exchange Server 2019': names Exchange Server 2019 twice",
        ),
        ({"regression": []}, "regression: '[]': must be a mapping"),
        ({"notify_before_days": 7}, "notify_before_days: '7': must be a list"),
        (
            {"effective_at": "soon"},
            "effective_at: 'soon': must be a timestamp from 2000 to 2099, like 2026-09-01T00:00:00Z",
        ),
        ({"critical_patches": {}}, "critical_patches.grace_days: '': is missing"),
        (
            {"critical_patches": {"grace_days": 3651}},
            "critical_patches.grace_days: '3651': must be a whole number from 0 to 3650",
        ),
        (
            {"critical_patches": {"grace_days": 1, "known_exploited_only": "no"}},
            "critical_patches.known_exploited_only: 'no': must be true or false",
        ),
        ({"ladder": 7}, "ladder: '7': must be a list"),
    ],
)
def test_what_a_field_does_not_take_is_refused_by_path_value_and_rule(fields: dict[str, Any], said: str) -> None:
    assert errors(**fields)[0] == f"p:1: {said}"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"_SE": 7}, ["Exchange Server SE: '7': must be a mapping"]),
        ({"_SE": {"accept": "x"}}, ["Exchange Server SE.accept: 'x': must be one of none, all, floor"]),
        (
            {"_2016": {"accept": "floor"}},
            ["Exchange Server 2016.floors: '[]': accept: floor needs the oldest accepted build of each CU line"],
        ),
        (
            {"_2016": {"accept": "all", "floor": "15.1.2507.61"}},
            ["Exchange Server 2016.floors: '15.1.2507.61': only accept: floor has floors, not all"],
        ),
        (
            {"_2016": {"accept": "floor", "floors": ["15.1.2507.61", "15.1.2507.69"]}},
            ["Exchange Server 2016.floors: '['15.1.2507.61', '15.1.2507.69']': names one CU line twice"],
        ),
        (
            {"_2016": {"accept": "floor", "floors": ["15.2.1748.39"]}},
            ["Exchange Server 2016.floors[0]: '15.2.1748.39': is not a build of Exchange Server 2016"],
        ),
        (
            {"_2016": {"accept": "floor", "floors": ["15.1.2507.61", "15.1.2600.1"]}},
            ["Exchange Server 2016.floors[1]: '15.1.2600.1': is of a CU line that is not in the catalogue"],
        ),
    ],
)
def test_a_rule_of_a_product_is_refused_with_the_reason(rules: dict[str, Any], said: list[str]) -> None:
    found = [error.replace('"', "'") for error in errors(**of_products(**rules))]
    assert found[: len(said)] == [f"p:1: products.{line}" for line in said]


def test_every_known_product_needs_a_rule() -> None:
    assert errors(products={}) == ["p:1: products: '{}': must be a mapping from product to its rule"]
    rest = {name: rule for name, rule in LEAST["products"].items() if name != "Exchange Server 2010"}
    assert errors(products=rest) == [
        "p:1: products.Exchange Server 2010: '': is missing; every known product needs accept: none, all or floor"
    ]


def test_a_stage_that_is_none_is_told_of_once() -> None:
    stage = {"from_day": 0, "throttle_minutes_per_hour": 0, "block_minutes_per_hour": 0}
    assert errors(
        ladder=[stage, {"from_day": "x", "throttle_minutes_per_hour": 1, "block_minutes_per_hour": True}]
    ) == [
        "p:1: ladder[1].from_day: 'x': must be a whole number",
        "p:1: ladder[1].block_minutes_per_hour: 'True': must be a whole number",
    ]
    assert errors(ladder=[]) == ["p:1: ladder: 'empty': at least one stage is needed"]
    assert errors(ladder=[stage | {"from_day": 1}]) == ["p:1: ladder[0].from_day: '1': the first stage begins at day 0"]


def test_an_error_names_the_line_of_the_innermost_field_that_has_one() -> None:
    lines = {"scope": 4, "scope.rollout": 6}
    with pytest.raises(PolicyError) as error:
        check_content(LEAST | {"scope": {"rollout": {"x": 1}, "cohort_percent": 101}}, "p", lines, shipped_catalogue())
    assert [line.partition(" ")[0] for line in error.value.errors] == ["p:6:", "p:4:"]


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        (date(2026, 9, 2), datetime(2026, 9, 2, tzinfo=UTC)),
        ("2026-09-02T00:00:00", datetime(2026, 9, 2, tzinfo=UTC)),
        (datetime(2026, 9, 2, 1, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 9, 1, 23, tzinfo=UTC)),
        (datetime(2000, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_moment_is_utc_unless_it_says_otherwise(given: Any, moment: datetime) -> None:
    assert checked(effective_at=given) == replace(checked(), effective_at=moment)


def test_a_moment_without_a_zone_is_utc_wherever_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EAST-14")
    time.tzset()
    try:
        found = [checked(effective_at=value).effective_at for value in (AT.replace(tzinfo=None), AT, AT.isoformat())]
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert [moment.isoformat() for moment in found] == [AT.isoformat()] * 3


def test_a_ladder_may_stay_as_strict_as_it_is_and_last_ten_years() -> None:
    good = (Stage(0, 30, 10), Stage(1, 30, 10), Stage(2, 0, 40), Stage(3650, 0, 60))
    assert ladder_errors(good) == []
    assert ladder_errors((Stage(0, 1, 60), Stage(3651, 50, 10))) == [
        "ladder[0]: 61: throttle and block together exceed 60 minutes an hour",
        "ladder[1].from_day: 3651: must be 0 to 3650",
        "ladder[1]: 50+10: less strict than the stage before",
    ]
    assert ladder_errors((Stage(0, 30, 10), Stage(1, 29, 10))) == [
        "ladder[1]: 29+10: less strict than the stage before"
    ]


def test_only_what_is_known_to_be_exploited_is_critical_unless_a_policy_says_otherwise() -> None:
    for given, kept in ({}, True), ({"known_exploited_only": True}, True), ({"known_exploited_only": False}, False):
        assert checked(critical_patches={"grace_days": 3, **given}).critical_patches == CriticalPatches(3, kept)
    assert errors(critical_patches={}) == ["p:1: critical_patches.grace_days: '': is missing"]


def test_a_floor_that_is_no_build_and_a_product_named_twice_are_shown() -> None:
    with pytest.raises(ValueError, match="build") as error:
        parse_build("x.y")
    assert errors(**of_products(_2016={"accept": "floor", "floors": ["15.1.2507.61", "x.y"]})) == [
        f"p:1: products.Exchange Server 2016.floors[1]: 'x.y': {error.value}"
    ]
    twice = LEAST["products"] | {"2016": {"accept": "none"}}
    assert errors(products=twice) == ["p:1: products.2016: '2016': names Exchange Server 2016 twice"]


def test_the_name_of_a_field_that_is_not_known_is_shown_as_it_is() -> None:
    (error,) = errors(Xx=1)
    assert error.startswith("p:1: Xx: 'Xx': unknown field; ")
