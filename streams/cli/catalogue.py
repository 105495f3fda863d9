"""`tes catalogue`: check, publish and compare catalogues of builds and vulnerabilities, and see which is in force."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError

from streams.cli.columns import print_columns
from streams.cli.forms import add_forms, print_json
from streams.cli.messages import print_error, print_message
from streams.cli.options import ISSUER_HELP, operator
from streams.cli.times import TypedTime
from streams.domain.exchange.build import parse_build
from streams.domain.exchange.tables import MAX_TEXT_CHARS, CatalogueError, Tables
from streams.domain.policy.publication import PublicationError, catalogue_conflict
from streams.domain.policy.rulebook import PublishedCatalogue
from streams.domain.time import EARLIEST_MS, iso
from streams.kafka.topics import TopicError
from streams.policies.catalogue.files import SOURCES, provenance_of, read_catalogue_folder, shipped_tables, write_tables
from streams.policies.catalogue.topic import StoredCatalogue, publish_catalogue, read_stored
from streams.policies.configured import configured_policies, policy_topic_of
from streams.policies.publishing import moment_now
from streams.policies.reader import read_published
from streams.settings.worker import Settings, read_settings
from streams.visible import visible
from streams.wire.catalogue import differences, summary
from streams.wire.policy import from_millis, to_millis
from streams.wire.records import parse_day_or_moment

BUILT_IN = "builtin"
_REFERENCE = f"{BUILT_IN}, a published version, or a folder"
_FOLDER = "folder with the five CSV files, like streams/policies/data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser("check", help="validate the files of a catalogue and report all errors")
    check.add_argument("folder", metavar="FOLDER", help=_FOLDER)
    check.set_defaults(run=_check)
    publishing = actions.add_parser("publish", help="publish a catalogue version")
    publishing.add_argument("folder", metavar="FOLDER", help=_FOLDER)
    publishing.add_argument("--effective-at", required=True, metavar="DATE", help="when it takes effect")
    publishing.add_argument("--by", default=operator(), metavar="NAME", help=ISSUER_HELP)
    publishing.add_argument(
        "--provenance", metavar="TEXT", help=f"origin of the tables (default: read from {SOURCES} in the folder)"
    )
    publishing.add_argument(
        "--force", action="store_true", help="publish even if older than the catalogue before it, to roll back"
    )
    publishing.set_defaults(run=_publish)
    listing = actions.add_parser("list", help="past, current and scheduled catalogues")
    add_forms(listing)
    listing.set_defaults(run=_list)
    show = actions.add_parser("show", help="summary of one catalogue, or its tables")
    show.add_argument("catalogue", nargs="?", metavar="CATALOGUE", help=f"{_REFERENCE} (default: the one in force)")
    form = show.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object with every row on stdout")
    form.add_argument("--out", metavar="FOLDER", help="write the five CSV files to this folder")
    show.set_defaults(run=_show)
    diff = actions.add_parser("diff", help="compare two catalogues; exit code 1 if they differ")
    diff.add_argument("before", metavar="BEFORE", help=_REFERENCE)
    diff.add_argument("after", metavar="AFTER", help=_REFERENCE)
    add_forms(diff)
    diff.set_defaults(run=_diff)


def _refused(action: str, error: Exception) -> int:
    print_error(f"tes catalogue {action}", error)
    return 1 if isinstance(error, (KafkaError, TopicError)) else 2


@dataclass(frozen=True, slots=True)
class Found:
    """A catalogue that was named: `builtin`, `version 3` or its folder, and what was published with it."""

    name: str
    tables: Tables
    stored: StoredCatalogue | None = None


def find_catalogue(reference: str, settings: Settings) -> Found:
    """The built-in catalogue, a published version, or that of a folder.

    Raises:
        CatalogueError: there is none, or the files are malformed.
        KafkaError: it can only be a published one, and the cluster did not answer.
    """
    if reference == BUILT_IN:
        return Found(BUILT_IN, shipped_tables())
    if not (reference.isascii() and reference.isdigit()) or Path(reference).is_dir():
        return Found(reference, read_catalogue_folder(reference)[0])
    stored = asyncio.run(read_stored(policy_topic_of(settings), [int(reference)]))
    if not stored:
        raise CatalogueError([f"{reference}: must be {_REFERENCE}"])
    return Found(f"version {reference}", stored[0].tables, stored[0])


def given_catalogues(given: list[str] | None) -> list[tuple[PublishedCatalogue, Tables]]:
    """The catalogues of `--catalogue FOLDER[@DATE]`, in force from a day or moment on, else from the first event.

    Raises:
        CatalogueError: the files are malformed, or two begin at the same moment.
        MalformedError: what follows the `@` is no day or moment.
    """
    found: list[tuple[PublishedCatalogue, Tables]] = []
    for version, words in enumerate(given or [], 1):
        folder, at, begins = (words, "", "") if Path(words).is_dir() else words.rpartition("@")
        tables, catalogue = read_catalogue_folder(folder if at or not begins else words)
        effective_at = from_millis(parse_day_or_moment("--catalogue", begins) if at else EARLIEST_MS)
        published = PublishedCatalogue(version, effective_at, catalogue)
        if wrong := catalogue_conflict(published, [known for known, _ in found]):
            raise CatalogueError([f"--catalogue: {words}: {wrong}"])
        found.append((published, tables))
    return found


def _in_force(settings: Settings) -> Found:
    published = asyncio.run(read_published(policy_topic_of(settings)))
    begun = [item for item in published.catalogues if item.effective_at <= moment_now()]
    if not begun:
        return Found(BUILT_IN, shipped_tables())
    return find_catalogue(str(max(begun, key=lambda item: item.effective_at).version), settings)


def _counts(tables: Tables) -> str:
    return ", ".join(f"{len(rows)} {table}" for table, rows in tables.rows.items())


def _check(arguments: argparse.Namespace) -> int:
    try:
        tables, _ = read_catalogue_folder(arguments.folder)
    except CatalogueError as error:
        for line in error.errors:
            print_message(line)
        return 2
    print(f"{visible(arguments.folder)}: valid, up to {tables.newest_day}: {_counts(tables)}")
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    typed = None
    try:
        settings = read_settings()
        typed = TypedTime.parse("--effective-at", arguments.effective_at)
        provenance = provenance_of(arguments.folder) if arguments.provenance is None else arguments.provenance
        for name, value in (("by", arguments.by), ("provenance", provenance)):
            if not value.isprintable() or len(value) > MAX_TEXT_CHARS:
                rule = f"must have no control characters, and at most {MAX_TEXT_CHARS} characters"
                raise CatalogueError([f"--{name}: {value[:120]!r}: {rule}"])
        tables, _ = read_catalogue_folder(arguments.folder)
        published, said = asyncio.run(
            publish_catalogue(
                policy_topic_of(settings),
                settings.app_id,
                tables,
                from_millis(typed.at),
                configured_policies(settings),
                arguments.by,
                provenance,
                accepts_older=arguments.force,
            )
        )
    except PublicationError as error:
        return _refused("publish", PublicationError(typed.quote(str(error)) if typed else str(error)))
    except (ValueError, OSError, KafkaError, TopicError) as error:
        return _refused("publish", error)
    print(f"catalogue {published.version} takes effect at {iso(to_millis(published.effective_at))}: {said}")
    return 0


async def _stored(settings: Settings) -> list[StoredCatalogue]:
    topic = policy_topic_of(settings)
    published = await read_published(topic)
    return await read_stored(topic, [item.version for item in published.catalogues])


def _list(arguments: argparse.Namespace) -> int:
    try:
        stored = asyncio.run(_stored(read_settings()))
    except (ValueError, OSError, KafkaError, TopicError) as error:
        return _refused("list", error)
    now = moment_now()
    stored = sorted(stored, key=lambda item: item.published.effective_at)
    begun = [item for item in stored if item.published.effective_at <= now]
    rows = [_listed(BUILT_IN, shipped_tables(), None, "past" if begun else "in force")]
    for item in stored:
        is_current = bool(begun) and item is begun[-1]
        state = "in force" if is_current else "past" if item in begun else "to come"
        rows.append(_listed(str(item.published.version), item.tables, item, state))
    if print_json(arguments, rows):
        return 0
    print_columns(
        [
            [name.upper() for name in rows[0]],
            *(["-" if cell is None else str(cell) for cell in row.values()] for row in rows),
        ]
    )
    return 0


def _listed(version: str, tables: Tables, stored: StoredCatalogue | None, state: str) -> dict[str, Any]:
    published = stored.published if stored else None
    return {
        "version": version,
        "effective_at": iso(to_millis(published.effective_at)) if published else None,
        "up_to": tables.newest_day,
        "builds": len(tables.rows["builds"]),
        "cves": len(tables.rows["cves"]),
        "published_by": stored.published_by if stored and stored.published_by else None,
        "state": state,
    }


def _show(arguments: argparse.Namespace) -> int:
    try:
        settings = read_settings()
        found = find_catalogue(arguments.catalogue, settings) if arguments.catalogue else _in_force(settings)
        if arguments.out:
            write_tables(found.tables, Path(arguments.out))
    except (ValueError, OSError, KafkaError, TopicError) as error:
        return _refused("show", error)
    about = _about(found)
    if arguments.json:
        print(json.dumps(about | {table: list(rows) for table, rows in found.tables.rows.items()}))
    elif arguments.out:
        print_message(f"{found.name}: {_counts(found.tables)}: {arguments.out}")
    else:
        for name, value in about.items():
            print(f"{name:14}{'-' if value is None else visible(value)}")
        print(f"{'rows':14}{_counts(found.tables)}\n")
        print_columns([("NEWEST BUILD", "PRODUCT", "RELEASE", "UPDATE", "OUT SINCE", "KB"), *_newest(found.tables)])
    return 0


def _about(found: Found) -> dict[str, str | None]:
    stored = found.stored
    published_at = stored.published.published_at if stored else None
    return {
        "catalogue": found.name,
        "effective_at": iso(to_millis(stored.published.effective_at)) if stored else None,
        "published_at": iso(to_millis(published_at)) if published_at else None,
        "published_by": stored.published_by if stored and stored.published_by else None,
        "provenance": stored.provenance if stored and stored.provenance else None,
        "up_to": found.tables.newest_day,
    }


def _newest(tables: Tables) -> Iterator[tuple[str, ...]]:
    """The newest update of each product's newest CU line."""
    newest = {}
    for row in sorted(tables.rows["builds"], key=lambda row: parse_build(row["build"])):
        newest[row["product"]] = row
    for row in newest.values():
        yield tuple(row[name] or "-" for name in ("build", "product", "release", "update", "release_date", "kb"))


def _diff(arguments: argparse.Namespace) -> int:
    try:
        settings = read_settings()
        before, after = (find_catalogue(name, settings).tables for name in (arguments.before, arguments.after))
    except (ValueError, OSError, KafkaError, TopicError) as error:
        return _refused("diff", error)
    found = list(differences(before, after))
    rows = ({"table": item.table, "key": item.key, "before": item.before, "after": item.after} for item in found)
    if not print_json(arguments, rows):
        for item in found:
            print(visible(str(item)))
        print_message(summary(found))
    return 1 if found else 0
