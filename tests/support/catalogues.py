"""Catalogues that differ from the shipped one by some rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from streams.domain.exchange.build import parse_build
from streams.domain.exchange.tables import Row, Tables, catalogue_of
from streams.domain.policy.policy import Accept, Policy, ProductRule
from streams.domain.policy.rulebook import PublishedCatalogue
from streams.policies.catalogue.files import shipped_catalogue, shipped_tables
from streams.policies.files import read_policy
from streams.wire.policy import from_millis

GOOD = "15.1.2507.61"
NEW_CVE = "CVE-2026-99001"
NEW_BUILD = "15.1.2507.90"
_CVE = {"cve": NEW_CVE, "name": "", "kev_date": "", "kev_due": "", "kev_ransomware": "", "fixed_in": "", "note": ""}


def tables(*, build: str | None = NEW_BUILD, fixed_on: str = "2026-09-08", sound: str = GOOD) -> Tables:
    """The shipped tables without what the build `sound` misses.

    With one more vulnerability, known to be exploited, and the update `build` that fixes it, both of `fixed_on`.
    """
    gone = {fix.cve for fix in shipped_catalogue().missing_fixes(parse_build(sound))}
    rows: dict[str, tuple[Row, ...]] = {
        table: tuple(row for row in rows if row.get("cve") not in gone) for table, rows in shipped_tables().rows.items()
    }
    if build is not None:
        release = {"product": "Exchange Server 2016", "release": "CU23", "update": "Nov26SU", "kind": "SU"}
        release |= {"build": build, "release_date": fixed_on, "kb": "KB5099999", "is_security_update": "true"}
        rows["builds"] += (release | {"source": "test"},)
        rows["cves"] += (_CVE | {"kev_date": fixed_on, "source": "test"},)
        fix = {"cve": NEW_CVE, "product": "Exchange Server 2016", "release": "CU23", "fixed_build": build}
        rows["fixes"] += (fix | {"fixed_date": fixed_on},)
    return with_rows(shipped_tables(), **rows)


def with_rows(found: Tables, **rows: tuple[Row, ...]) -> Tables:
    """The tables with other rows in some of them."""
    every = {**found.rows, **rows}
    return Tables(every, {table: [f"{table}[{at}]" for at in range(len(every[table]))] for table in every})


def published(version: int, effective_at: int, found: Tables, published_at: int | None = None) -> PublishedCatalogue:
    """The catalogue of these tables from a moment on (UTC milliseconds)."""
    at: datetime | None = None if published_at is None else from_millis(published_at)
    return PublishedCatalogue(version, from_millis(effective_at), catalogue_of(found), at)


def of_a_new_line(effective_at: int, version: int = 1) -> Policy:
    """A policy that accepts a CU line which only another catalogue than the built-in one has."""
    policy = read_policy("microsoft-2026-09")
    rules = policy.products | {
        product: ProductRule(Accept.FLOOR, (*rule.floors, parse_build("15.1.2600.1")))
        for product, rule in policy.products.items()
        if product.value == "Exchange Server 2016"
    }
    return replace(policy, policy_id="new", version=version, effective_at=from_millis(effective_at), products=rules)
