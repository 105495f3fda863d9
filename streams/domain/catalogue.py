"""The catalogue of Exchange builds: what a number means, and what a build newer or older than the table is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from streams.domain.build import Build, Product


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
    """The update that cures a finding: the name administrators know, and its KB article."""

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
    """Look-ups over the published builds; immutable after construction."""

    def __init__(
        self,
        releases: Iterable[Release],
        aliases: dict[Build, Build],
        fixes: Iterable[Fix] = (),
        support_ends: dict[Product, date] | None = None,
    ) -> None:
        by_line: dict[tuple[int, int, int], list[Release]] = {}
        for release in releases:
            by_line.setdefault(release.build.cu_line, []).append(release)
        self._by_line = {line: sorted(rows, key=lambda row: row.build.update or 0) for line, rows in by_line.items()}
        self._aliases = dict(aliases)
        self._support_ends = dict(support_ends or {})
        self._fixes: dict[tuple[Product, str], list[Fix]] = {}
        for fix in fixes:
            product = fix.fixed_build.product
            if product is not None:
                self._fixes.setdefault((product, fix.cve), []).append(fix)

    def support_ends_on(self, product: Product) -> date | None:
        """The end of extended support, None where none is known."""
        return self._support_ends.get(product)

    def knows_line(self, build: Build) -> bool:
        """Whether any build of this CU line was published."""
        return build.cu_line in self._by_line

    def canonical(self, build: Build) -> Build:
        """The product build that a component's or misprinted number stands for; `build` itself otherwise."""
        return self._aliases.get(build, build)

    def releases_of(self, build: Build) -> list[Release]:
        """The published builds of the same CU line, oldest first; empty for an unknown line."""
        return list(self._by_line.get(build.cu_line, ()))

    def at_least(self, build: Build) -> Release | None:
        """The newest published build of the same CU line that is not above `build`."""
        rows = self._by_line.get(build.cu_line, [])
        updates = [row.build.update or 0 for row in rows]
        # A CU's first build has the lowest update number of its line, so a three-part number names that one.
        wanted = updates[0] if build.update is None and updates else (build.update or 0)
        at = bisect_right(updates, wanted)
        return rows[at - 1] if at else None

    def remedy(self, required: Build) -> Remedy | None:
        """The update to install to have `required`; None where its CU line is not in the catalogue."""
        release = self.at_least(required)
        return Remedy(release.name, release.kb) if release else None

    def name(self, build: Build) -> str:
        """What to call `build`: exact name, `at least X`, `newer than X` above the table, or the product."""
        number = self.canonical(build)
        rows = self._by_line.get(number.cu_line, [])
        found = self.at_least(number)
        if found is None:
            product = number.product
            return f"{product.value if product else 'Unknown product'} (build {number} is not in the catalogue)"
        if number.update is None or found.build == number:
            return found.name
        if found is rows[-1]:
            return f"newer than {found.name}"
        return f"at least {found.name}"

    def missing_fixes(self, build: Build) -> list[Fix]:
        """The fixes of this product that this build does not have, oldest first.

        A CU line that never got a fix of its own misses it when a newer line got one (the newest such line is named);
        a line newer than every fixed one came with it.
        """
        number = self.canonical(build)
        missing = []
        for (product, _), fixes in self._fixes.items():
            if product is not number.product:
                continue
            own = [fix for fix in fixes if fix.fixed_build.cu_line == number.cu_line]
            newest = max(fixes, key=lambda fix: fix.fixed_build.cu_line)
            if own:
                missing += [fix for fix in own if not number.reaches(fix.fixed_build)]
            elif number.cu_line < newest.fixed_build.cu_line:
                missing.append(newest)
        return sorted(missing, key=lambda fix: (fix.fixed_on, fix.cve))
