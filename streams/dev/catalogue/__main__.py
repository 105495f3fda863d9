"""`python -m streams.dev.catalogue`: the command behind scripts/refresh_catalogue."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import date
from importlib.resources import files
from pathlib import Path

from streams.dev.catalogue.health_checker import Checkout, read_facts
from streams.dev.catalogue.refresh import SOURCE, RefreshError, refreshed, with_exploited
from streams.policies.catalogue.tables import COLUMNS, differences, faults, read_tables, table_text

DATA_DIR = Path(str(files("streams.policies.data")))


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1: `--check` found differences. 2: nothing was written, and why is on standard error."""
    parser = argparse.ArgumentParser(
        prog="scripts/refresh_catalogue",
        description="Bring the catalogue's tables up to a checkout of CSS-Exchange, and show the differences.",
    )
    parser.add_argument("--from", dest="checkout", type=Path, required=True, help="checkout, bare clone, or folder")
    parser.add_argument("--tables", type=Path, default=DATA_DIR, help="folder of the tables (default: the product's)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where something would change")
    parser.add_argument("--commit", help="what a folder without git is: its commit")
    parser.add_argument("--date", type=date.fromisoformat, help="and the day of that commit, as 2026-10-14")
    parser.add_argument(
        "--released",
        metavar="UPDATE=DAY",
        action="append",
        default=[],
        help="release day of a new update, as Oct26SU=2026-10-14 (default: of a security update the second Tuesday)",
    )
    parser.add_argument("--exploited", type=Path, help="CISA's known_exploited_vulnerabilities.json")
    given = parser.parse_args(arguments)
    try:
        before = read_tables(given.tables)
        facts = read_facts(Checkout(given.checkout, given.commit, given.date))
        after, notes = refreshed(before, facts, _released(given.released))
        if given.exploited:
            after = with_exploited(after, json.loads(given.exploited.read_text(encoding="utf-8")))
        if wrong := faults(after):
            raise RefreshError("\n".join(wrong))
    except (OSError, ValueError, RecursionError) as error:
        print(f"refresh_catalogue: {error}", file=sys.stderr)
        return 2
    changes = list(differences(before, after))
    print("\n".join([f"{SOURCE} {facts.commit} of {facts.day}", *changes, *notes]))
    print(f"{len(changes)} differences" + (", nothing was written" if given.check else ""))
    if given.check:
        return 1 if changes else 0
    for name in COLUMNS:
        if after[name] != before[name]:
            (given.tables / name).write_text(table_text(name, after[name]), encoding="utf-8", newline="")
    return 0


def _released(given: list[str]) -> dict[str, date]:
    days: dict[str, date] = {}
    for item in given:
        update, _, day = item.partition("=")
        try:
            days[update] = date.fromisoformat(day)
        except ValueError:
            raise RefreshError(f"--released: {item[:80]}: must be as Oct26SU=2026-10-14") from None
    return days


if __name__ == "__main__":
    raise SystemExit(main())
