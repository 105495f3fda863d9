"""Brings the catalogue's tables up to a checkout of CSS-Exchange.

Facts that the checkout does not have stay: support dates, KB articles, days of exploitation, products before 2013, and
vulnerabilities whose check reads more than the build. A fact with another source stays as it is too; the difference is
shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Any

from streams.dev.catalogue.health_checker import (
    BUILDS_FILE,
    CHECKS_FOLDER,
    Facts,
    NamedBuild,
)
from streams.domain.exchange.build import Build, Product, parse_build
from streams.policies.catalogue.tables import (
    COLUMNS,
    Row,
    Tables,
    build_order,
    fixed_in,
    order,
)

SOURCE = "CSS-Exchange"
_UPDATE = re.compile(r"([A-Z][a-z]{2})([0-9]{2})(SU|HU)(v[0-9])?")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class RefreshError(ValueError):
    """Tables that cannot be brought up to a checkout; the message has the place and the rule, one a line."""


def refreshed(tables: Tables, facts: Facts, released: dict[str, date]) -> tuple[Tables, list[str]]:
    """The tables with what a checkout says, and notes on what was kept though the checkout has it otherwise.

    Args:
        tables: what is shipped now.
        facts: what the checkout says.
        released: release days of updates by name, for new ones that did not come out on the second Tuesday.

    Raises:
        RefreshError: the checkout is older than the tables, or names what cannot be placed.
    """
    _refuse_older(tables, facts)
    notes: list[str] = []
    builds = {row["build"]: dict(row) for row in tables["exchange_builds.csv"]}
    aliases = {row["build"]: dict(row) for row in tables["exchange_build_aliases.csv"]}
    named = {(row["product"], row["release"], row["update"]): row["build"] for row in builds.values()}
    missing: list[str] = []
    for item in facts.builds:
        number, name = str(item.build), (item.product.value, item.release, item.update)
        if number in builds:
            notes += _confirm(builds[number], item, facts)
        elif number in aliases:
            _add_source(aliases[number], "CSS")
        elif name in named:
            short = " ".join((item.product.value.removeprefix("Exchange Server "), item.release, item.update)).strip()
            note = f"{short} as CSS-Exchange has it"
            values = (number, named[name], "alternate", note, "CSS")
            aliases[number] = dict(zip(COLUMNS["exchange_build_aliases.csv"].split(","), values, strict=True))
        elif (row := _new_build(item, facts, released)) is None:
            missing.append(f"{item.update} {number}: its release day is unknown; say --released {item.update}=DAY")
        else:
            builds[number] = row
            named[name] = number
    if missing:
        raise RefreshError("\n".join(missing))
    canonical = {number: row["maps_to"] or number for number, row in aliases.items()}
    derived = _derived(facts, canonical, notes)
    cves = {row["cve"]: dict(row) for row in tables["exchange_cves.csv"]}
    fixes = list(tables["exchange_cve_fixes.csv"])
    for vulnerability, numbers in derived.items():
        row = cves.setdefault(vulnerability, dict.fromkeys(COLUMNS["exchange_cves.csv"].split(","), ""))
        present = {fix["fixed_build"] for fix in fixes if fix["cve"] == vulnerability}
        if row["source"] not in ("", SOURCE) and not numbers <= present:
            both = f"{_listed(present)}; the checkout has {_listed(numbers)}"
            notes.append(f"kept exchange_cve_fixes.csv: {vulnerability}: {both} (source: {row['source']})")
            continue
        if row["source"] in ("", SOURCE):
            fixes = [fix for fix in fixes if fix["cve"] != vulnerability]
            fixes += [_fix(vulnerability, builds[number]) for number in numbers]
        row["cve"] = vulnerability
        _add_source(row, SOURCE)
    _refuse_unplaced(facts, cves)
    sorted_fixes = _sorted("exchange_cve_fixes.csv", fixes)
    for row in cves.values():
        row["fixed_in"] = fixed_in(row["cve"], sorted_fixes)
    after = Tables(
        {
            "exchange_builds.csv": _sorted("exchange_builds.csv", builds.values()),
            "exchange_build_aliases.csv": _sorted("exchange_build_aliases.csv", aliases.values()),
            "exchange_lifecycle.csv": tables["exchange_lifecycle.csv"],
            "exchange_cves.csv": _sorted("exchange_cves.csv", cves.values()),
            "exchange_cve_fixes.csv": sorted_fixes,
            "exchange_sources.csv": _with_source(tables["exchange_sources.csv"], facts),
        }
    )
    return after, [*notes, *_kept(after, facts, derived)]


def _refuse_older(tables: Tables, facts: Facts) -> None:
    for row in tables["exchange_sources.csv"]:
        if row["source"] == SOURCE and row["date"] > facts.day.isoformat():
            raise RefreshError(
                f"commit {facts.commit[:12]} of {facts.day}: is older than commit {row['commit'][:12]}"
                f" of {row['date']}, which the tables have already"
            )


def _confirm(row: Row, item: NamedBuild, facts: Facts) -> Iterator[str]:
    """Note the source of a build that is known; yields where its name or day is another one there."""
    _add_source(row, "CSS")
    where = f"exchange_builds.csv: {row['build']}"
    if not item.update:
        day = facts.cu_days[item.product, item.release].isoformat()
        if row["release_date"] != day:
            yield f"kept {where}: release_date {row['release_date']}; the checkout has {day}"
    elif row["update"] and row["update"] != item.update:
        yield f"kept {where}: update {row['update']}; the checkout has {item.update}"


def _add_source(row: Row, source: str) -> None:
    known = row["source"].split("; ")
    if not any(item == source or item.startswith(f"{source} ") for item in known):
        row["source"] = "; ".join([*filter(None, known), source])


def _new_build(item: NamedBuild, facts: Facts, released: dict[str, date]) -> Row | None:
    """The row of a build that is new; None where its release day is not known."""
    source = "CSS"
    if not item.update:
        day: date | None = facts.cu_days[item.product, item.release]
        kind = "RTM" if item.release == "RTM" else "CU"
    else:
        found = _UPDATE.fullmatch(item.update)
        kind = found[3] if found else "SU"
        day = released.get(item.update)
        if day is None and found and found[3] == "SU" and not found[4] and found[1] in _MONTHS:
            day = second_tuesday(2000 + int(found[2]), _MONTHS.index(found[1]) + 1)
            source = "CSS; day: second Tuesday of the month"
    if day is None:
        return None
    return {
        "product": item.product.value,
        "release": item.release,
        "update": item.update,
        "kind": kind,
        "build": str(item.build),
        "release_date": day.isoformat(),
        "kb": "",
        "is_security_update": "true" if kind == "SU" else "false",
        "source": source,
    }


def second_tuesday(year: int, month: int) -> date:
    """The day on which Microsoft releases the security updates of a month."""
    first = date(year, month, 1)
    return first + timedelta(days=(1 - first.weekday()) % 7 + 7)


def _derived(facts: Facts, canonical: dict[str, str], notes: list[str]) -> dict[str, set[str]]:
    """The builds that fix each vulnerability, one for a CU line: of several updates that are said to, the newest."""
    having: dict[tuple[Product, str], list[Build]] = {}
    for item in facts.builds:
        if item.update:
            having.setdefault((item.product, item.update), []).append(item.build)
    newest: dict[str, dict[tuple[int, int, int], Build]] = {}
    for fix in facts.fixes:
        builds = having.get((fix.product, fix.update), [])
        if not builds:
            product = fix.product.value
            notes.append(f"{fix.vulnerability}: {product} has no {fix.update}; as in the check, it is not affected")
        if fix.vulnerability.startswith("ADV"):
            continue  # an advisory has no CVE id to report
        lines = newest.setdefault(fix.vulnerability, {})
        for build in builds:
            known = lines.get(build.cu_line)
            if known is None or build.reaches(known):
                lines[build.cu_line] = build
    return {
        vulnerability: {canonical.get(str(build), str(build)) for build in lines.values()}
        for vulnerability, lines in newest.items()
    }


def _fix(vulnerability: str, build: Row) -> Row:
    return {
        "cve": vulnerability,
        "product": build["product"],
        "release": build["release"],
        "fixed_build": build["build"],
        "fixed_date": build["release_date"],
    }


def _listed(numbers: Iterable[str]) -> str:
    return ", ".join(sorted(numbers, key=lambda number: build_order(parse_build(number)))) or "none"


def _refuse_unplaced(facts: Facts, cves: dict[str, Row]) -> None:
    rule = "its check reads more than the build; add it to exchange_cves.csv, with its fixes or a note why it has none"
    placed = {*cves, *(fix.vulnerability for fix in facts.fixes)}
    unplaced = [f"{where}: {name}: {rule}" for name, where in facts.named.items() if name not in placed]
    if unplaced:
        raise RefreshError("\n".join(unplaced))


def _with_source(rows: list[Row], facts: Facts) -> list[Row]:
    others = [row for row in rows if row["source"] != SOURCE]
    own = [
        {"source": SOURCE, "file": file, "commit": facts.commit, "date": facts.day.isoformat()}
        for file in (BUILDS_FILE, CHECKS_FOLDER)
    ]
    return _sorted("exchange_sources.csv", [*others, *own])


def _kept(after: Tables, facts: Facts, derived: dict[str, set[str]]) -> Iterator[str]:
    listed = {str(item.build) for item in facts.builds}
    builds = sum(row["build"] not in listed for row in after["exchange_builds.csv"])
    cves = sum(row["cve"] not in facts.named for row in after["exchange_cves.csv"])
    fixes = sum(row["fixed_build"] not in derived.get(row["cve"], ()) for row in after["exchange_cve_fixes.csv"])
    yield (
        f"kept what the checkout does not have: {builds} builds, {cves} vulnerabilities, {fixes} fixes, and all KB"
        " articles, days of exploitation and support dates"
    )


def with_exploited(tables: Tables, content: Any) -> Tables:
    """The tables with the days of CISA's catalogue of exploited vulnerabilities.

    Raises:
        RefreshError: it is not in the form that is known, or has a vulnerability of Exchange that the table has not.
    """
    try:
        listed = {str(item["cveID"]): item for item in content["vulnerabilities"]}
        own = [name for name, item in listed.items() if item["product"] == "Exchange Server"]
        values = {
            name: (str(item["dateAdded"]), str(item["dueDate"]), str(item["knownRansomwareCampaignUse"]))
            for name, item in listed.items()
        }
    except (TypeError, KeyError) as error:
        raise RefreshError(f"known exploited vulnerabilities: {error}: is not in the form that is known") from None
    known = {row["cve"] for row in tables["exchange_cves.csv"]}
    unknown = [name for name in own if name not in known and vulnerability_year(name) >= 2018]
    if unknown:
        raise RefreshError(f"{', '.join(unknown)}: known as exploited, and exchange_cves.csv does not have it")
    rows = [dict(row) for row in tables["exchange_cves.csv"]]
    for row in rows:
        if row["cve"] in values:
            row["kev_date"], row["kev_due"], row["kev_ransomware"] = values[row["cve"]]
    return Tables(tables.rows | {"exchange_cves.csv": rows})


def vulnerability_year(name: str) -> int:
    """The year in a CVE id."""
    return int(name.split("-")[1])


def _sorted(name: str, rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: order(name, row))
