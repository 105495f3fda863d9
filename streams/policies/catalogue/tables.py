"""The catalogue's tables as rows: read, checked against each other, written, and compared."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from streams.domain.exchange.build import JUDGED_PRODUCTS, Build, parse_build

Row = dict[str, str]

COLUMNS = {
    "exchange_builds.csv": "product,release,update,kind,build,release_date,kb,is_security_update,source",
    "exchange_build_aliases.csv": "build,maps_to,relation,note,source",
    "exchange_lifecycle.csv": "product,mainstream_end,extended_end,esu_end,source",
    "exchange_cves.csv": "cve,name,kev_date,kev_due,kev_ransomware,fixed_in,note,source",
    "exchange_cve_fixes.csv": "cve,product,release,fixed_build,fixed_date",
    "exchange_sources.csv": "source,file,commit,date",
}
"""The tables and their columns, in order."""

KEYS = {
    "exchange_builds.csv": ("build",),
    "exchange_build_aliases.csv": ("build",),
    "exchange_lifecycle.csv": ("product",),
    "exchange_cves.csv": ("cve",),
    "exchange_cve_fixes.csv": ("cve", "fixed_build"),
    "exchange_sources.csv": ("source", "file"),
}
"""What tells the rows of a table apart."""

_VULNERABILITY = re.compile(r"(CVE|ADV)-?([0-9]{2,4})-?([0-9]{4,})")
_KB = re.compile(r"KB[0-9]{6,7}")


@dataclass(frozen=True, slots=True)
class Tables:
    """The rows of every table by the file's name, each sorted."""

    rows: dict[str, list[Row]]

    def __getitem__(self, name: str) -> list[Row]:
        return self.rows[name]


def read_tables(folder: Path) -> Tables:
    """The tables of a folder.

    Raises:
        OSError: a file is missing.
        ValueError: its columns are others.
    """
    rows: dict[str, list[Row]] = {}
    for name, columns in COLUMNS.items():
        reader = csv.DictReader(io.StringIO((folder / name).read_text(encoding="utf-8"), newline=""))
        if reader.fieldnames is None or ",".join(reader.fieldnames) != columns:
            raise ValueError(f"{folder / name}: {','.join(reader.fieldnames or ())}: the columns must be {columns}")
        rows[name] = list(reader)
        for number, row in enumerate(rows[name], 2):
            if None in row or None in row.values():
                raise ValueError(f"{folder / name}: row {number}: must have {len(reader.fieldnames)} values")
    return Tables(rows)


def table_text(name: str, rows: Iterable[Row]) -> str:
    """A table as the text of its file."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS[name].split(","), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def order(name: str, row: Row) -> tuple[object, ...]:
    """Where a row stands in its table: builds and vulnerabilities by their numbers, not as text."""
    match name:
        case "exchange_builds.csv" | "exchange_build_aliases.csv":
            return build_order(parse_build(row["build"]))
        case "exchange_cves.csv":
            return vulnerability_order(row["cve"])
        case "exchange_cve_fixes.csv":
            return *vulnerability_order(row["cve"]), *build_order(parse_build(row["fixed_build"]))
        case "exchange_lifecycle.csv":
            return ([product.value for product in JUDGED_PRODUCTS].index(row["product"]),)
    return tuple(row[key] for key in KEYS[name])


def build_order(build: Build) -> tuple[int, ...]:
    """Orders builds over all CU lines."""
    return tuple(part or 0 for part in build)


def vulnerability_order(name: str) -> tuple[object, ...]:
    """Orders CVE ids by year and number, advisories before them.

    Raises:
        ValueError: it is neither.
    """
    found = _VULNERABILITY.fullmatch(name)
    if found is None:
        raise ValueError(f"{name[:80]}: is neither a CVE id nor an advisory")
    return found[1], int(found[2]), int(found[3])


def fixed_in(name: str, fixes: Iterable[Row]) -> str:
    """The fixes of a vulnerability in one line: `2016 CU23: 15.1.2507.66; SE RTM: 15.2.2562.37`."""
    return "; ".join(
        f"{row['product'].removeprefix('Exchange Server ')} {row['release']}: {row['fixed_build']}"
        for row in fixes
        if row["cve"] == name
    )


def differences(before: Tables, after: Tables) -> Iterator[str]:
    """What changed, one line a row: `+` added, `-` removed, `~` changed with the old and the new value."""
    for name in COLUMNS:
        key = KEYS[name]
        old = {tuple(row[column] for column in key): row for row in before[name]}
        new = {tuple(row[column] for column in key): row for row in after[name]}
        for mark, rows, others in (("-", old, new), ("+", new, old)):
            for identity, row in rows.items():
                if identity not in others:
                    yield f"{mark} {name}: {', '.join(value for value in row.values() if value)}"
        for identity, row in new.items():
            for column, value in old.get(identity, row).items():
                if row[column] != value:
                    both = f"{value or '(empty)'} -> {row[column] or '(empty)'}"
                    yield f"~ {name}: {' '.join(identity)}: {column}: {both}"


def faults(tables: Tables) -> list[str]:
    """Where the tables contradict themselves or each other, as `file: row: rule`; empty where they do not."""
    return [
        *_form(tables),
        *_faults_of_builds(tables),
        *_faults_of_fixes(tables),
    ]


def _form(tables: Tables) -> Iterator[str]:
    days = ("release_date", "fixed_date", "kev_date", "kev_due", "mainstream_end", "extended_end", "esu_end", "date")
    for name in COLUMNS:
        rows = tables[name]
        counted = Counter(tuple(row[column] for column in KEYS[name]) for row in rows)
        for identity, times in counted.items():
            if times > 1:
                yield f"{name}: {' '.join(identity)}: is there {times} times"
        if [order(name, row) for row in rows] != sorted(order(name, row) for row in rows):
            yield f"{name}: is not sorted"
        for row in rows:
            for column in days:
                value = row.get(column, "")
                if value and not _is_day(value):
                    yield f"{name}: {row[KEYS[name][0]]}: {column}: {value}: must be a date as 2026-10-14"


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _faults_of_builds(tables: Tables) -> Iterator[str]:
    builds = {row["build"] for row in tables["exchange_builds.csv"]}
    names = Counter((row["product"], row["release"], row["update"]) for row in tables["exchange_builds.csv"])
    for row in tables["exchange_builds.csv"]:
        where, build = f"exchange_builds.csv: {row['build']}", parse_build(row["build"])
        if build.product is None or build.product.value != row["product"] or build.update is None:
            yield f"{where}: is not a four-part build of {row['product']}"
        if not row["release_date"]:
            yield f"{where}: has no release date"
        if row["kb"] and not _KB.fullmatch(row["kb"]):
            yield f"{where}: kb: {row['kb']}: must be as KB5066369"
        if row["kind"] not in ("RTM", "SP", "RU", "CU", "SU", "HU") or row["is_security_update"] not in (
            "true",
            "false",
        ):
            yield f"{where}: {row['kind']}, {row['is_security_update']}: is not a kind of update"
        if names[row["product"], row["release"], row["update"]] > 1:
            yield f"{where}: {row['product']} {row['release']} {row['update']}: names more than one build"
    for row in tables["exchange_build_aliases.csv"]:
        where = f"exchange_build_aliases.csv: {row['build']}"
        if row["build"] in builds:
            yield f"{where}: is a published build itself"
        if (row["relation"] == "preview") == bool(row["maps_to"]) or row["maps_to"] not in {*builds, ""}:
            yield f"{where}: maps_to: {row['maps_to']}: must be a published build, and of a preview nothing"


def _faults_of_fixes(tables: Tables) -> Iterator[str]:
    builds = {row["build"]: row for row in tables["exchange_builds.csv"]}
    known = {row["cve"] for row in tables["exchange_cves.csv"]}
    lines: Counter[tuple[str, tuple[int, int, int]]] = Counter()
    for row in tables["exchange_cve_fixes.csv"]:
        where = f"exchange_cve_fixes.csv: {row['cve']} {row['fixed_build']}"
        lines[row["cve"], parse_build(row["fixed_build"]).cu_line] += 1
        if row["cve"] not in known:
            yield f"{where}: exchange_cves.csv does not have the vulnerability"
        build = builds.get(row["fixed_build"])
        if build is None:
            yield f"{where}: exchange_builds.csv does not have the build"
            continue
        for column, other in (("product", "product"), ("release", "release"), ("fixed_date", "release_date")):
            if row[column] != build[other]:
                yield f"{where}: {column}: {row[column]}: exchange_builds.csv says {build[other]}"
    for (name, line), times in lines.items():
        if times > 1:
            yield f"exchange_cve_fixes.csv: {name}: has {times} fixes in the CU line {'.'.join(map(str, line))}"
    for row in tables["exchange_cves.csv"]:
        text = fixed_in(row["cve"], tables["exchange_cve_fixes.csv"])
        if row["fixed_in"] != text:
            yield f"exchange_cves.csv: {row['cve']}: fixed_in: {row['fixed_in']}: must be {text}"
        if not text and not row["note"]:
            yield f"exchange_cves.csv: {row['cve']}: note: must say why no build fixes it"
