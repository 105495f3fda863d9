"""Publishes a catalogue with its audit record; checked against those before it and the policies that name builds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson

from streams.domain.exchange.catalogue import Catalogue
from streams.domain.exchange.tables import Tables, catalogue_of
from streams.domain.ids import stable_id
from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import PublishedCatalogue, effective_policies
from streams.domain.tenant.audit import AuditRecord, CommandOutcome
from streams.domain.tenant.commands import CommandKind
from streams.domain.time import iso
from streams.kafka.reader import read_all
from streams.policies.catalogue.files import shipped_tables
from streams.policies.topic import (
    ALL_TENANTS,
    PolicyTopic,
    PublicationError,
    Published,
    catalogue_conflict,
    moment_now,
    read_published,
    require_future,
    shared_moment,
)
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
from streams.wire.records import to_record

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
    async for row in read_all(topic.cluster, topic.catalogues_topic):
        if row.value is None or row.key not in {catalogue_key(version) for version in wanted}:
            continue
        record = topic.catalogues.decode(row.value)
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
    """Publish tables as the next version together with its audit record, in one transaction; says what differs.

    Publishers share a transactional id, so one that overlaps with another fails and changes nothing. `accepts_older`
    takes a catalogue whose newest update or fix is older than that of the one before, as to go back to a former one.

    Raises:
        CatalogueError: the tables are malformed.
        PublicationError: it begins in the past or at the moment of another one, says the same as the one before or is
            older, names what is not out by then, lacks a CU line that a policy names, or is too large.
    """
    catalogue = catalogue_of(tables)
    producer = topic.cluster.producer(transactional_id=f"{app_id}-catalogue-publisher", acks="all")
    try:
        await producer.start()
        known = await read_published(topic)
        now = moment_now()
        require_future(effective_at, now)
        version = max((item.version for item in known.catalogues), default=0) + 1
        published = PublishedCatalogue(version, effective_at, catalogue, now)
        before_version, before = await tables_in_force(topic, known, effective_at)
        found = list(differences(before, tables))
        wrong = (
            catalogue_conflict(published, known.catalogues)
            or shared_moment(effective_at, known.policies, ())
            or (None if found else f"{_named(before_version)}: has the same content and is in force at {effective_at}")
            or (None if accepts_older else _older(tables, before, before_version))
            or _not_out(tables, effective_at)
            or _missing_line(catalogue, published, known, configured)
        )
        if wrong:
            raise PublicationError(wrong)
        said = summary(found)
        try:
            value = topic.catalogues.encode(catalogue_record(published, tables, published_by, provenance))
        except RecordEncodingError as error:
            raise PublicationError(str(error)) from None
        if len(value) > MAX_CATALOGUE_BYTES:
            raise PublicationError(f"size: {len(value)} bytes: must be at most {MAX_CATALOGUE_BYTES}")
        audit = _audit(published, value, tables, published_by, said, before_version)
        async with producer.transaction():
            await producer.send(topic.catalogues_topic, value, key=catalogue_key(version), partition=0)
            await producer.send(topic.audit_topic, topic.audit.encode(to_record(audit)), key=ALL_TENANTS.encode())
    finally:
        await producer.stop()
    return published, said


def _named(version: int) -> str:
    return f"version {version}" if version else "the built-in catalogue"


def _older(tables: Tables, before: Tables, version: int) -> str | None:
    if tables.newest_day >= before.newest_day:
        return None
    return (
        f"release_date, fixed_date: {tables.newest_day}: is the newest day, and {_named(version)}, in force before, "
        f"goes up to {before.newest_day} (use --force to roll back)"
    )


def _not_out(tables: Tables, effective_at: datetime) -> str | None:
    day = effective_at.date().isoformat()
    for _, place, row in tables.named():
        for name in ("release_date", "fixed_date"):
            if row.get(name, "") > day:
                return f"{place}: {name}: {row[name]!r}: is after the day on which the catalogue takes effect ({day})"
    return None


def _missing_line(
    catalogue: Catalogue, published: PublishedCatalogue, known: Published, configured: Sequence[Policy]
) -> str | None:
    """A policy must not lose a CU line that it accepts while both are in force."""
    begins = published.effective_at
    ends = min((item.effective_at for item in known.catalogues if item.effective_at > begins), default=None)
    policies = sorted(effective_policies(configured, known.policies), key=lambda policy: policy.effective_at)
    governing = [policy for policy in policies if policy.effective_at <= begins][-1:] or policies[:1]
    to_come = [policy for policy in policies if policy.effective_at > begins]
    for policy in [*governing, *(policy for policy in to_come if ends is None or policy.effective_at < ends)]:
        for rule in policy.products.values():
            for floor in rule.floors:
                if not catalogue.knows_line(floor):
                    named = f"{policy.policy_id} version {policy.version}"
                    return f"builds: {floor}: no build of its CU line is listed, and {named} accepts it from there on"
    return None


def _audit(
    published: PublishedCatalogue, value: bytes, tables: Tables, published_by: str, said: str, before_version: int
) -> AuditRecord:
    assert published.published_at is not None
    about = f"catalogue/{published.version}/{to_millis(published.effective_at)}"
    begins = iso(to_millis(published.effective_at))
    shown = {
        "version": published.version,
        "effective_at": begins,
        **{table: len(rows) for table, rows in tables.rows.items()},
        "sha256": hashlib.sha256(value).hexdigest(),
    }
    return AuditRecord(
        audit_id=stable_id(f"audit/{about}"),
        command_id=None,
        tenant_id=ALL_TENANTS,
        kind=CommandKind.CATALOGUE_PUBLISHED,
        outcome=CommandOutcome.ACCEPTED,
        reason=f"Catalogue {published.version} takes effect at {begins}: {said}.",
        issued_by=published_by,
        occurred_at=to_millis(published.published_at),
        quota_left_days=None,
        before=orjson.dumps({"version": before_version}).decode(),
        after=orjson.dumps(shown).decode(),
    )
