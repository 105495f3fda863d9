"""Reads the shipped build catalogue (`streams/data`, see its README for where the figures come from)."""

from __future__ import annotations

import csv
from datetime import date
from functools import cache
from importlib.resources import files

from streams.domain.build import Build, Product, parse_build
from streams.domain.catalogue import Catalogue, Fix, Release


def _rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((files("streams.data") / name).read_text(encoding="utf-8").splitlines()))


@cache
def shipped_catalogue() -> Catalogue:
    """The catalogue that ships with the product, read once."""
    releases = [
        Release(
            build=parse_build(row["build"]),
            product=Product(row["product"]),
            release=row["release"],
            update=row["update"],
            released_on=date.fromisoformat(row["release_date"]),
            kb=row["kb"] or None,
        )
        for row in _rows("exchange_builds.csv")
    ]
    others = _rows("exchange_build_aliases.csv")
    aliases: dict[Build, Build] = {
        parse_build(row["build"]): parse_build(row["maps_to"]) for row in others if row["maps_to"]
    }
    exploited = {row["cve"] for row in _rows("exchange_cves.csv") if row["kev_date"]}
    fixes = [
        Fix(
            cve=row["cve"],
            fixed_build=parse_build(row["fixed_build"]),
            fixed_on=date.fromisoformat(row["fixed_date"]),
            is_known_exploited=row["cve"] in exploited,
        )
        for row in _rows("exchange_cve_fixes.csv")
    ]
    return Catalogue(
        releases,
        aliases,
        fixes,
        _ends("extended_end"),
        esu_ends=_ends("esu_end"),
        previews=[parse_build(row["build"]) for row in others if row["relation"] == "preview"],
    )


def _ends(column: str) -> dict[Product, date]:
    return {
        Product(row["product"]): date.fromisoformat(row[column])
        for row in _rows("exchange_lifecycle.csv")
        if row[column]
    }
