"""The catalogue that five tables describe, and everything that is wrong with them.

Every cell is checked; an error names place, field, value and rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from streams.domain.exchange.build import Build, Product, parse_build
from streams.domain.exchange.catalogue import Catalogue, Fix, Release

Row = dict[str, str]
FILES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "builds": (
        "exchange_builds.csv",
        ("product", "release", "update", "kind", "build", "release_date", "kb", "is_security_update", "source"),
    ),
    "aliases": ("exchange_build_aliases.csv", ("build", "maps_to", "relation", "note", "source")),
    "cves": (
        "exchange_cves.csv",
        ("cve", "name", "kev_date", "kev_due", "kev_ransomware", "fixed_in", "note", "source"),
    ),
    "fixes": ("exchange_cve_fixes.csv", ("cve", "product", "release", "fixed_build", "fixed_date")),
    "lifecycle": ("exchange_lifecycle.csv", ("product", "mainstream_end", "extended_end", "esu_end", "source")),
}
"""File and columns of each table."""
MAX_ERRORS = 100
"""Of one catalogue; tables can be wrong in more places than anyone reads."""
MAX_NAME_CHARS = 100
"""Of what goes into reasons and notifications: product, release, update, KB article."""
MAX_TEXT_CHARS = 4000
"""Of any other cell; the longest shipped one has 623."""
PREVIEW = "preview"
_RELATIONS = ("typo", "component", "alternate", "interim", PREVIEW)
_NAMES = frozenset(("product", "release", "update", "kind", "kb", "relation"))
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_KB = re.compile(r"KB\d{4,10}")
_CVE = re.compile(r"CVE-\d{4}-\d{4,9}|ADV\d{6,9}")
"""Some updates are known by an advisory without a CVE id."""
_FIRST_DAY, _LAST_DAY = date(1990, 1, 1), date(2099, 12, 31)


class CatalogueError(ValueError):
    """A catalogue that is refused; `errors` holds every reason as `place: field: value: rule`."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Tables:
    """The rows of the five tables as their CSV files hold them; `places` says where each row stands, for errors."""

    rows: Mapping[str, tuple[Row, ...]]
    places: Mapping[str, Sequence[str]] = field(compare=False)

    def named(self) -> Iterator[tuple[str, str, Row]]:
        """Every row with its table and its place."""
        for table, rows in self.rows.items():
            for place, row in zip(self.places[table], rows, strict=True):
                yield table, place, row

    @property
    def newest_day(self) -> str:
        """The last day on which a listed update or fix came out, as 2026-10-08."""
        days = [row["release_date"] for row in self.rows["builds"]] + [row["fixed_date"] for row in self.rows["fixes"]]
        return max(days)


def catalogue_of(tables: Tables) -> Catalogue:
    """The catalogue that checked tables describe.

    Raises:
        CatalogueError: with every error found.
    """
    checker = _Checker(tables)
    checker.check()
    if checker.errors:
        raise CatalogueError(checker.errors)
    rows = tables.rows
    exploited = {row["cve"] for row in rows["cves"] if row["kev_date"]}
    return Catalogue(
        releases=[
            Release(
                build=parse_build(row["build"]),
                product=Product(row["product"]),
                release=row["release"],
                update=row["update"],
                released_on=date.fromisoformat(row["release_date"]),
                kb=row["kb"] or None,
            )
            for row in rows["builds"]
        ],
        aliases={parse_build(row["build"]): parse_build(row["maps_to"]) for row in rows["aliases"] if row["maps_to"]},
        fixes=[
            Fix(
                cve=row["cve"],
                fixed_build=parse_build(row["fixed_build"]),
                fixed_on=date.fromisoformat(row["fixed_date"]),
                is_known_exploited=row["cve"] in exploited,
            )
            for row in rows["fixes"]
        ],
        support_ends=_ends(rows["lifecycle"], "extended_end"),
        esu_ends=_ends(rows["lifecycle"], "esu_end"),
        previews=[parse_build(row["build"]) for row in rows["aliases"] if row["relation"] == PREVIEW],
    )


def _ends(rows: Sequence[Row], column: str) -> dict[Product, date]:
    return {Product(row["product"]): date.fromisoformat(row[column]) for row in rows if row[column]}


class _Checker:
    """Checks every cell, and collects what is wrong, so that all errors come at once."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.errors: list[str] = []
        self._place = ""
        self._row: Row = {}
        self._builds: set[Build] = set()
        self._lines: set[tuple[int, int, int]] = set()
        self._aliases: set[Build] = set()
        self._cves: set[str] = set()
        self._seen: set[tuple[str, object]] = set()

    def check(self) -> None:
        """Check all tables, in an order in which each finds what it refers to."""
        checks: dict[str, Callable[[], None]] = {
            "builds": self._check_build,
            "aliases": self._check_alias,
            "cves": self._check_cve,
            "fixes": self._check_fix,
            "lifecycle": self._check_lifecycle,
        }
        if not self.tables.rows["builds"]:
            self.errors.append("builds: none: a catalogue needs at least one build")
        for row in self.tables.rows["aliases"]:
            if (build := _build_in(row["build"])) is not None:
                self._aliases.add(build)
        for table, place, row in self.tables.named():
            self._place, self._row = place, row
            for name, value in row.items():
                self._check_text(name, value)
            checks[table]()

    def _error(self, name: str, rule: str) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(f"{self._place}: {name}: {self._row[name][:120]!r}: {rule}")

    def _check_text(self, name: str, value: str) -> None:
        if not value.isprintable():
            self._error(name, "must have no control or format characters")
        elif name in _NAMES and not (value.isascii() and len(value) <= MAX_NAME_CHARS):
            self._error(name, f"must be ASCII of at most {MAX_NAME_CHARS} characters")
        elif len(value) > MAX_TEXT_CHARS:
            self._error(name, f"must have at most {MAX_TEXT_CHARS} characters")

    def _once(self, name: str, key: object) -> None:
        if (name, key) in self._seen:
            self._error(name, "is listed twice")
        self._seen.add((name, key))

    def _build(self, name: str) -> Build | None:
        build = _build_in(self._row[name])
        if build is None or build.update is None:
            self._error(name, "must be a build of four decimal numbers joined by dots")
            return None
        if build.product in (None, Product.EXCHANGE_ONLINE):
            self._error(name, "is not a build of a judged product")
            return None
        return build

    def _product(self, build: Build | None = None) -> None:
        names = [product.value for product in Product if product is not Product.EXCHANGE_ONLINE]
        if self._row["product"] not in names:
            self._error("product", f"unknown product; known are {', '.join(names)}")
        elif build is not None and build.product is not None and build.product.value != self._row["product"]:
            self._error("product", f"is not the product of {build}, which is {build.product.value}")

    def _day(self, name: str, *, is_needed: bool) -> date | None:
        value = self._row[name]
        if not value and not is_needed:
            return None
        try:
            day = date.fromisoformat(value) if _DATE.fullmatch(value) else None
        except ValueError:
            day = None
        if day is None or not _FIRST_DAY <= day <= _LAST_DAY:
            self._error(name, f"must be a date like 2026-09-01, from {_FIRST_DAY.year} to {_LAST_DAY.year}")
        return day

    def _check_build(self) -> None:
        build = self._build("build")
        self._product(build)
        self._day("release_date", is_needed=True)
        if not (self._row["release"] or self._row["update"]):
            self._error("release", "is empty, as is the update: a build needs a name")
        if self._row["kb"] and not _KB.fullmatch(self._row["kb"]):
            self._error("kb", "must be empty or an article like KB5066366")
        if self._row["is_security_update"] not in ("true", "false"):
            self._error("is_security_update", "must be true or false")
        if build is not None:
            self._once("build", ("builds", build))
            self._builds.add(build)
            self._lines.add(build.cu_line)

    def _check_alias(self) -> None:
        build = self._build("build")
        if build is not None:
            self._once("build", ("aliases", build))
            if build in self._builds:
                self._error("build", "is a published build and needs no alias")
        relation, target = self._row["relation"], self._row["maps_to"]
        if relation not in _RELATIONS:
            self._error("relation", f"must be one of {', '.join(_RELATIONS)}")
        if relation == PREVIEW:
            if target:
                self._error("maps_to", "a preview is not an alias of another build")
            return
        stands_for = self._build("maps_to")
        if stands_for is None:
            return
        if stands_for in self._aliases:
            self._error("maps_to", "is an alias itself")
        elif stands_for not in self._builds:
            self._error("maps_to", "is not among the builds")
        elif build is not None and build.product is not stands_for.product:
            self._error("maps_to", f"is a build of another product than {build}")

    def _check_cve(self) -> None:
        if not _CVE.fullmatch(self._row["cve"]):
            self._error("cve", "must be an identifier like CVE-2026-12345 or ADV190018")
        self._once("cve", self._row["cve"])
        self._cves.add(self._row["cve"])
        self._day("kev_date", is_needed=False)
        self._day("kev_due", is_needed=False)

    def _check_fix(self) -> None:
        if self._row["cve"] not in self._cves:
            self._error("cve", f"is not among the vulnerabilities of {FILES['cves'][0]}")
        build = self._build("fixed_build")
        self._product(build)
        self._day("fixed_date", is_needed=True)
        if build is None:
            return
        if build.cu_line not in self._lines:
            self._error("fixed_build", "is of a CU line that is not among the builds")
        self._once("fixed_build", (self._row["cve"], build))

    def _check_lifecycle(self) -> None:
        self._product()
        self._once("product", self._row["product"])
        for name in ("mainstream_end", "extended_end", "esu_end"):
            self._day(name, is_needed=False)


def _build_in(text: str) -> Build | None:
    try:
        return parse_build(text)
    except ValueError:
        return None
