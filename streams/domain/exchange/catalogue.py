"""The catalogue of Exchange builds: what a number means, and what a build newer or older than the table is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple

from streams.domain.exchange.build import Build, Product

FIRST_CU_MAJOR = 15
"""From 15 (Exchange 2013) on the third part of a number names the CU; before, the first two name the service pack."""

MAX_CVES: Final = 256
"""Vulnerabilities named for one build, in every record and by `tes inspect`: about 4 KB of text."""
_MAX_REMEMBERED: Final = 4096


@dataclass(frozen=True, slots=True)
class Release:
    """One published build: product, CU or service pack, update inside it, day of release, KB article."""

    build: Build
    product: Product
    release: str
    update: str
    released_on: date
    kb: str | None

    @property
    def name(self) -> str:
        """The name administrators know it by, as `Exchange Server 2016 CU23 Oct25SU`."""
        return " ".join(part for part in (self.product.value, self.release, self.update) if part)


class Remedy(NamedTuple):
    """The update that fixes a finding: the name administrators know, and its KB article."""

    name: str
    kb: str | None


@dataclass(frozen=True, slots=True)
class Fix:
    """A vulnerability and the build of one CU line that fixes it."""

    cve: str
    fixed_build: Build
    fixed_on: date
    is_known_exploited: bool = False


class Catalogue:
    """Look-ups over the published builds; immutable after construction, but for what it remembers of answers."""

    def __init__(
        self,
        releases: Iterable[Release],
        aliases: dict[Build, Build],
        fixes: Iterable[Fix] = (),
        support_ends: dict[Product, date] | None = None,
        *,
        esu_ends: dict[Product, date] | None = None,
        previews: Iterable[Build] = (),
    ) -> None:
        by_line: dict[tuple[int, int, int], list[Release]] = {}
        by_pack: dict[tuple[int, int], list[Release]] = {}
        for release in sorted(releases, key=lambda row: _order(row.build)):
            by_line.setdefault(release.build.cu_line, []).append(release)
            if release.build.major < FIRST_CU_MAJOR:
                by_pack.setdefault(release.build[:2], []).append(release)
        self._by_line = by_line
        self._by_pack = by_pack
        self._lines: dict[Product | None, list[tuple[int, int, int]]] = {}
        for line, rows in sorted(by_line.items()):
            self._lines.setdefault(rows[0].product, []).append(line)
        self._aliases = dict(aliases)
        self._previews = frozenset(previews)
        self._support_ends = dict(support_ends or {})
        self._esu_ends = dict(esu_ends or {})
        self._missing_cves: dict[Build, tuple[str, ...]] = {}
        self._names: dict[Build, str] = {}
        self._fixes: dict[Product | None, dict[str, list[Fix]]] = {}
        for fix in sorted(fixes, key=lambda fix: fix.fixed_build.cu_line):
            self._fixes.setdefault(fix.fixed_build.product, {}).setdefault(fix.cve, []).append(fix)
        fixed = [fix.fixed_build for by_name in self._fixes.values() for rows in by_name.values() for fix in rows]
        self._fixed_builds = sorted({_order(build) for build in fixed})
        self._fixed_lines = frozenset(build.cu_line for build in fixed)
        self._missing: dict[tuple[Product | None, int, tuple[int, int, int] | None], tuple[Fix, ...]] = {}

    def support_ends_on(self, product: Product) -> date | None:
        """The end of extended support, None where none is known."""
        return self._support_ends.get(product)

    def esu_ends_on(self, product: Product) -> date | None:
        """The end of the Extended Security Updates that are sold after support ended, None where there are none."""
        return self._esu_ends.get(product)

    def knows_line(self, build: Build) -> bool:
        """Whether any build of this CU line was published."""
        return build.cu_line in self._by_line

    def canonical(self, build: Build) -> Build:
        """The product build that a component's or misprinted number stands for; `build` itself otherwise."""
        return self._aliases.get(build, build)

    def counted_as(self, build: Build) -> Build:
        """The four-part build to judge `build` as: the alias's, and of a CU's line at least the CU itself.

        A three-part number names the CU, and a number below the CU's own is one of its components.
        """
        number = self.canonical(build)
        rows = self._by_line.get(number.cu_line)
        if not rows or number in self._previews:
            return number
        first = rows[0].build
        return number if number.reaches(first) else first

    def at_least(self, build: Build) -> Release | None:
        """The newest published build of the same CU line that is not above `build`."""
        rows = self._by_line.get(build.cu_line, [])
        updates = [row.build.update or 0 for row in rows]
        # A CU's first build has the lowest update number of its line, so a three-part number names that one.
        wanted = updates[0] if build.update is None and updates else (build.update or 0)
        at = bisect_right(updates, wanted)
        return rows[at - 1] if at else None

    def released_on(self, build: Build) -> date | None:
        """The day of the newest published build of the same CU line that is not above `build`.

        In a CU line that is not in the catalogue it is the day of the CU before it, for `build` is not older. None
        where the product has no older build.
        """
        number = self.counted_as(build)
        release = self.at_least(number)
        if release is not None:
            return release.released_on
        older = [line for line in self._lines.get(number.product, ()) if line < number.cu_line]
        return self._by_line[older[-1]][0].released_on if older else None

    def updates_from(self, required: Build) -> Iterator[Release]:
        """The published builds that have `required`, oldest first, then those of newer CU lines, line by line."""
        yield from (row for row in self._by_line.get(required.cu_line, ()) if row.build.reaches(required))
        for line in self._lines.get(required.product, ()):
            if line > required.cu_line:
                yield from self._by_line[line]

    def name(self, build: Build) -> str:
        """What to call `build`: exact name, `at least X`, `newer than X` above the table, or the product."""
        found = self._names.get(build)
        if found is None:
            # Senders claim any number, so what is remembered is bounded.
            if len(self._names) >= _MAX_REMEMBERED:
                self._names.clear()
            found = self._names[build] = self._find_name(build)
        return found

    def _find_name(self, build: Build) -> str:
        number = self.canonical(build)
        product = number.product
        if product is Product.EXCHANGE_ONLINE:
            return product.value
        unlisted = f"(build {number} is not in the catalogue)"
        if product is None:
            return f"Unknown product {unlisted}"
        if number in self._previews:
            return f"{product.value} Preview"
        rows = self._by_line.get(number.cu_line)
        if rows:
            return _name_among(rows, number if number.update is not None else self.counted_as(number))
        pack = self._by_pack.get(number[:2])
        if pack:
            return _name_among(pack, number)
        lines = self._lines.get(product)
        if lines and number.cu_line > lines[-1]:
            return f"{product.value}, newer than every CU of the catalogue (build {number})"
        return f"{product.value} {unlisted}"

    def missing_fixes(self, build: Build) -> tuple[Fix, ...]:
        """The fixes of this product that this build does not have, oldest first.

        A CU line that never got a fix of its own misses it when a newer line got one (the newest such line is named);
        a line newer than every fixed one came with it.
        """
        number = self.counted_as(build)
        line = number.cu_line if number.cu_line in self._fixed_lines else None
        # Builds between the same two fixed ones miss the same fixes, so an endless variety of builds costs no more.
        key = (number.product, bisect_right(self._fixed_builds, _order(number)), line)
        missing = self._missing.get(key)
        if missing is None:
            missing = self._missing[key] = self._find_missing(number)
        return missing

    def _find_missing(self, number: Build) -> tuple[Fix, ...]:
        missing: list[Fix] = []
        for fixes in self._fixes.get(number.product, {}).values():
            own = [fix for fix in fixes if fix.fixed_build.cu_line == number.cu_line]
            if own:
                missing += [fix for fix in own if not number.reaches(fix.fixed_build)]
            elif number.cu_line < fixes[-1].fixed_build.cu_line:
                missing.append(fixes[-1])
        return tuple(sorted(missing, key=lambda fix: (fix.fixed_on, fix.cve)))

    def missing_cves(self, build: Build) -> tuple[str, ...]:
        """The CVE numbers of the missing fixes, sorted; at most `MAX_CVES`, the exploited and the newest ones kept."""
        found = self._missing_cves.get(build)
        if found is None:
            fixes = sorted(self.missing_fixes(build), key=lambda fix: (fix.is_known_exploited, fix.fixed_on, fix.cve))
            kept = list(dict.fromkeys(fix.cve for fix in reversed(fixes)))[:MAX_CVES]
            # Senders claim any number, so what is remembered is bounded.
            if len(self._missing_cves) >= _MAX_REMEMBERED:
                self._missing_cves.clear()
            found = self._missing_cves[build] = tuple(sorted(kept))
        return found


def _order(build: Build) -> tuple[tuple[int, int, int], int]:
    return build.cu_line, build.update or 0


def _name_among(rows: list[Release], number: Build) -> str:
    """`number` named after `rows`, the releases of its CU line or service pack, oldest first."""
    at = bisect_right(rows, _order(number), key=lambda row: _order(row.build))
    if at == 0:
        return f"{rows[0].name} (build {number} is not in the catalogue)"
    found = rows[at - 1]
    if found.build == number:
        return found.name
    return f"newer than {found.name}" if at == len(rows) else f"at least {found.name}"
