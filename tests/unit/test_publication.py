"""What may be published beside what is known, rule by rule, and what is recorded of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from streams.domain.exchange.build import Product, parse_build
from streams.domain.policy.policy import Accept, Policy, ProductRule
from streams.domain.policy.publication import (
    PublicationError,
    catalogue_conflict,
    missing_line,
    not_out_yet,
    older_than,
    require_future,
    shared_moment,
    unknown_line,
)
from streams.domain.tenant.audit import CommandOutcome
from streams.domain.tenant.commands import CommandKind
from streams.domain.tenant.publications import audit_catalogue, audit_policy
from streams.domain.time import DAY_MS
from streams.policies.catalogue.files import shipped_catalogue, shipped_tables
from streams.policies.files import read_policy
from streams.wire.policy import from_millis, to_millis
from tests.support.catalogues import published, tables, with_rows

AT = to_millis(datetime(2026, 11, 10, tzinfo=UTC))
NEW_LINE = "15.1.2600.1"


def of_new_line(days: int = 0) -> Policy:
    """A policy that accepts a CU line which the built-in catalogue does not have."""
    policy = read_policy("microsoft-2026-09")
    product = Product.EXCHANGE_2016
    rule = ProductRule(Accept.FLOOR, (*policy.products[product].floors, parse_build(NEW_LINE)))
    effective_at = datetime(2026, 11, 10, tzinfo=UTC) + timedelta(days=days)
    return replace(
        policy, policy_id="new", version=1, effective_at=effective_at, products={**policy.products, product: rule}
    )


def test_only_a_moment_to_come_may_be_published() -> None:
    now = datetime(2026, 11, 10, tzinfo=UTC)
    require_future(now + timedelta(milliseconds=1), now)
    with pytest.raises(PublicationError, match=r"effective_at: 2026-11-10T00:00:00\+00:00: is in the past \(now"):
        require_future(now, now)


def test_a_policy_and_a_catalogue_do_not_begin_together() -> None:
    policy, catalogue = of_new_line(), published(1, AT, tables())
    assert shared_moment(policy.effective_at, (), [published(1, AT + 1, tables())]) is None
    assert shared_moment(policy.effective_at, (), [catalogue]) == (
        "effective_at: 2026-11-10T00:00:00+00:00: catalogue 1 already takes effect at this time"
    )
    assert shared_moment(catalogue.effective_at, [policy], ()) == (
        "effective_at: 2026-11-10T00:00:00+00:00: new version 1 already takes effect at this time"
    )


def test_a_policy_names_only_lines_that_its_catalogue_has() -> None:
    catalogue = published(1, AT, tables(build=NEW_LINE)).catalogue
    assert unknown_line(of_new_line(), catalogue) is None
    assert str(unknown_line(of_new_line(), shipped_catalogue())).startswith(
        f"products.Exchange Server 2016.floors: {NEW_LINE}: is of a CU line that is not in the catalogue in force at "
    )


def test_a_catalogue_has_a_new_version_and_a_moment_of_its_own() -> None:
    known = [published(3, AT, tables())]
    assert catalogue_conflict(published(4, AT + 1, tables()), known) is None
    assert (
        catalogue_conflict(published(3, AT + 1, tables()), known)
        == "version: 3: must be above 3, the published version"
    )
    assert catalogue_conflict(published(4, AT, tables()), known) == (
        "effective_at: 2026-11-10T00:00:00+00:00: version 3 takes effect at this time"
    )


def test_a_catalogue_is_not_older_than_what_it_follows() -> None:
    newer = tables(fixed_on="2026-11-30")
    assert older_than(newer, shipped_tables(), 0) is None
    assert older_than(newer, newer, 2) is None
    older = str(older_than(shipped_tables(), newer, 2))
    assert older.startswith(
        f"release_date, fixed_date: {shipped_tables().newest_day}: is the newest day, and version 2"
    )
    assert "goes up to 2026-11-30" in older
    assert "the built-in catalogue, in force before" in str(older_than(shipped_tables(), newer, 0))


def test_a_catalogue_names_nothing_that_comes_later() -> None:
    found, day = tables(fixed_on="2026-11-30"), datetime(2026, 11, 30, tzinfo=UTC)
    assert not_out_yet(found, day) is None
    assert str(not_out_yet(found, day - timedelta(milliseconds=1))).endswith(
        "release_date: '2026-11-30': is after the day on which the catalogue takes effect (2026-11-29)"
    )


def test_nor_a_fix_that_comes_later() -> None:
    late = tables(fixed_on="2026-11-30")
    fixes = tuple(row for row in late.rows["fixes"] if row["fixed_date"] == "2026-11-30")
    of_fixes = with_rows(shipped_tables(), fixes=(*shipped_tables().rows["fixes"], *fixes))
    assert str(not_out_yet(of_fixes, datetime(2026, 11, 29, tzinfo=UTC))).endswith(
        "fixed_date: '2026-11-30': is after the day on which the catalogue takes effect (2026-11-29)"
    )


def test_a_catalogue_takes_no_line_from_a_policy_in_force_with_it() -> None:
    without_line = published(2, AT + 1, tables())
    configured = [read_policy("microsoft-2026-09")]
    assert missing_line(without_line, [], [], configured) is None
    for days in (0, 5):
        assert missing_line(without_line, [], [of_new_line(days)], configured) == (
            f"builds: {NEW_LINE}: no build of its CU line is listed, and new version 1 accepts it from there on"
        )
    # One that begins under the next catalogue is that one's matter.
    following = published(3, AT + 2, tables(build=NEW_LINE))
    assert missing_line(without_line, [following], [of_new_line(5)], configured) is None
    with_the_next = published(3, AT + 5 * DAY_MS, tables(build=NEW_LINE))
    assert missing_line(without_line, [with_the_next], [of_new_line(5)], configured) is None


def test_a_catalogue_is_checked_against_the_policy_that_governs_at_its_moment_and_no_earlier_one() -> None:
    found, plain = published(2, AT, tables()), read_policy("microsoft-2026-09")
    before, at = [replace(plain, effective_at=from_millis(AT + days * DAY_MS)) for days in (-2, 0)]
    assert missing_line(found, [], [of_new_line(0)], [before]) is not None
    assert missing_line(found, [], [of_new_line(-1), at], [before]) is None
    assert missing_line(found, [], [of_new_line(-2), replace(at, effective_at=from_millis(AT - DAY_MS))], []) is None


def test_before_every_policy_the_first_one_governs_and_only_that() -> None:
    found, plain = published(2, AT, tables()), read_policy("microsoft-2026-09")
    following = published(3, AT + DAY_MS, tables(build=NEW_LINE))
    first = replace(plain, effective_at=from_millis(AT + 2 * DAY_MS))
    assert missing_line(found, [following], [first, of_new_line(3)], []) is None
    assert missing_line(
        found, [following], [of_new_line(2), replace(first, effective_at=from_millis(AT + 3 * DAY_MS))], []
    )


def test_what_is_recorded_of_a_publication_is_the_same_each_time() -> None:
    policy = of_new_line()
    audit = audit_policy(policy, AT, AT - 1, "admin", None, "{}")
    assert audit == audit_policy(policy, AT, AT - 1, "admin", None, "{}")
    assert audit.audit_id != audit_policy(replace(policy, version=2), AT, AT - 1, "admin", None, "{}").audit_id
    assert (audit.tenant_id, audit.kind, audit.outcome) == ("*", CommandKind.POLICY_PUBLISHED, CommandOutcome.ACCEPTED)
    assert audit.reason == "new version 1 takes effect at 2026-11-10T00:00:00+00:00."
    of_catalogue = audit_catalogue(3, AT, AT - 1, "admin", "1 build added", "{}", "{}")
    assert of_catalogue.kind is CommandKind.CATALOGUE_PUBLISHED
    assert of_catalogue.reason == "Catalogue 3 takes effect at 2026-11-10T00:00:00.000Z: 1 build added."
    assert len({audit.audit_id, of_catalogue.audit_id}) == 2
