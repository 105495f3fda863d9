"""Publishes a catalogue with its audit record; checked against those before it and the policies that name builds."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from streams.domain.exchange.tables import Tables, catalogue_of
from streams.domain.policy.policy import Policy
from streams.domain.policy.publication import (
    PublicationError,
    catalogue_conflict,
    missing_line,
    name_catalogue,
    not_out_yet,
    older_than,
    require_future,
    shared_moment,
)
from streams.domain.policy.rulebook import PublishedCatalogue
from streams.domain.tenant.publications import audit_catalogue
from streams.domain.time import iso
from streams.kafka.reader import read_settled
from streams.policies.catalogue.files import shipped_tables
from streams.policies.publishing import Publication, publish_audited
from streams.policies.topic import PolicyTopic, Published
from streams.wire.catalogue import (
    catalogue_key,
    catalogue_record,
    differences,
    published_catalogue_of,
    summary,
    tables_of,
)
from streams.wire.codec import MAX_VALUE_BYTES, RecordEncodingError
from streams.wire.policy import to_millis

MAX_CATALOGUE_BYTES: Final = MAX_VALUE_BYTES - 64 * 1024
"""Of a published catalogue, below what a broker takes as it comes (1 MiB) with room for its own; today's has 80 KB."""


@dataclass(frozen=True, slots=True)
class StoredCatalogue:
    """A published catalogue with its tables, who published it, and where they say that it comes from."""

    published: PublishedCatalogue
    tables: Tables
    published_by: str | None
    provenance: str


async def read_stored(topic: PolicyTopic, versions: Iterable[int]) -> list[StoredCatalogue]:
    """The sound published catalogues of these versions, whole, in the order of publication."""
    wanted, found = set(versions), list[StoredCatalogue]()
    async for row in read_settled(topic.cluster, topic.catalogues_topic):
        if row.value is None or row.key not in {catalogue_key(version) for version in wanted}:
            continue
        record = await asyncio.to_thread(topic.catalogues.decode, row.value)  # it may ask a registry
        if record["version"] in wanted:
            wanted.discard(record["version"])
            tables = tables_of(record)
            found.append(
                StoredCatalogue(published_catalogue_of(record), tables, record["published_by"], record["provenance"])
            )
    return found


async def tables_in_force(topic: PolicyTopic, published: Published, at: datetime) -> tuple[int, Tables]:
    """Version and tables of the catalogue in force at a moment; version 0 is the built-in one."""
    begun = [item for item in published.catalogues if item.effective_at <= at]
    if not begun:
        return 0, shipped_tables()
    version = max(begun, key=lambda item: item.effective_at).version
    (stored,) = await read_stored(topic, [version])
    return version, stored.tables


async def publish_catalogue(
    topic: PolicyTopic,
    app_id: str,
    tables: Tables,
    effective_at: datetime,
    configured: Sequence[Policy],
    published_by: str,
    provenance: str,
    *,
    accepts_older: bool = False,
) -> tuple[PublishedCatalogue, str]:
    """Publish tables as the next version; says what differs.

    `accepts_older` takes a catalogue whose newest update or fix is older than that of the one before, as to go back to
    a former one.

    Raises:
        CatalogueError: the tables are malformed.
        PublicationError: it begins in the past or at the moment of another one, says the same as the one before or is
            older, names what is not out by then, lacks a CU line that a policy names, or is too large.
    """
    catalogue = catalogue_of(tables)

    async def prepare(known: Published, now: datetime) -> tuple[Publication, tuple[PublishedCatalogue, str]]:
        require_future(effective_at, now)
        version = max((item.version for item in known.catalogues), default=0) + 1
        published = PublishedCatalogue(version, effective_at, catalogue, now)
        before_version, before = await tables_in_force(topic, known, effective_at)
        found = list(differences(before, tables))
        same = f"has the same content and is in force at {effective_at}"
        wrong = (
            catalogue_conflict(published, known.catalogues)
            or shared_moment(effective_at, known.policies, ())
            or (None if found else f"{name_catalogue(before_version)}: {same}")
            or (None if accepts_older else older_than(tables, before, before_version))
            or not_out_yet(tables, effective_at)
            or missing_line(published, known.catalogues, known.policies, configured)
        )
        if wrong:
            raise PublicationError(wrong)
        value = _encode(topic, published, tables, published_by, provenance)
        changes = summary(found)
        audit = audit_catalogue(
            version,
            *(to_millis(effective_at), to_millis(now), published_by, changes),
            before=orjson.dumps({"version": before_version}).decode(),
            after=_shown(published, value, tables),
        )
        return Publication(catalogue_key(version), value, audit), (published, changes)

    transactional_id = f"{app_id}-catalogue-publisher"
    return await publish_audited(topic, topic.catalogues_topic, topic.catalogues, transactional_id, prepare)


def _encode(
    topic: PolicyTopic, published: PublishedCatalogue, tables: Tables, published_by: str, provenance: str
) -> bytes:
    try:
        value = topic.catalogues.encode(catalogue_record(published, tables, published_by, provenance))
    except RecordEncodingError as error:
        raise PublicationError(str(error)) from None
    if len(value) > MAX_CATALOGUE_BYTES:
        raise PublicationError(f"size: {len(value)} bytes: must be at most {MAX_CATALOGUE_BYTES}")
    return value


def _shown(published: PublishedCatalogue, value: bytes, tables: Tables) -> str:
    shown = {
        "version": published.version,
        "effective_at": iso(to_millis(published.effective_at)),
        **{table: len(rows) for table, rows in tables.rows.items()},
        "sha256": hashlib.sha256(value).hexdigest(),
    }
    return orjson.dumps(shown).decode()
