"""Catalogues on the wire: CSV tables and Avro-shaped record say the same; and what differs between two of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from streams.domain.exchange.tables import FILES, CatalogueError, Row, Tables, catalogue_of
from streams.domain.policy.rulebook import PublishedCatalogue
from streams.domain.time import day_of, days_of
from streams.wire.policy import from_millis, to_millis

KEYS: Final = {
    "builds": ("build",),
    "aliases": ("build",),
    "cves": ("cve",),
    "fixes": ("cve", "fixed_build"),
    "lifecycle": ("product",),
}
"""What tells the rows of a table apart."""
_DATES = frozenset(("release_date", "fixed_date", "kev_date", "kev_due", "mainstream_end", "extended_end", "esu_end"))
_FLAG = "is_security_update"


def catalogue_key(version: int) -> bytes:
    """The record's key. Every version has its own: compaction must not take away one that still judges old events."""
    return str(version).encode()


def catalogue_record(
    published: PublishedCatalogue, tables: Tables, published_by: str | None = None, provenance: str = ""
) -> dict[str, Any]:
    """The Avro-shaped record of checked tables."""
    record: dict[str, Any] = {
        "version": published.version,
        "effective_at": to_millis(published.effective_at),
        "published_at": to_millis(published.published_at) if published.published_at else None,
        "published_by": published_by,
        "provenance": provenance,
    }
    for table, rows in tables.rows.items():
        record[table] = [{name: _packed(name, value) for name, value in row.items()} for row in rows]
    return record


def _packed(name: str, value: str) -> Any:
    if name in _DATES:
        return days_of(date.fromisoformat(value)) if value else None
    return value == "true" if name == _FLAG else value


def tables_of(record: dict[str, Any]) -> Tables:
    """The CSV tables of an Avro-shaped record, unchecked; a day of no calendar becomes text that no check takes."""
    places = {}
    rows = {}
    for table, (_, columns) in FILES.items():
        rows[table] = tuple({name: _unpacked(name, row[name]) for name in columns} for row in record[table])
        places[table] = [f"catalogue {record['version']}: {table}[{at}]" for at in range(len(rows[table]))]
    return Tables(rows, places)


def _unpacked(name: str, value: Any) -> str:
    if name in _DATES:
        try:
            return "" if value is None else day_of(value).isoformat()
        except OverflowError:
            return f"day {value}"
    if name == _FLAG:
        return "true" if value else "false"
    return str(value)


def published_catalogue_of(record: dict[str, Any]) -> PublishedCatalogue:
    """The catalogue in an Avro-shaped record, checked like one of files.

    Raises:
        CatalogueError: with every error found.
    """
    version, effective_at, published_at = record["version"], record["effective_at"], record["published_at"]
    place = f"catalogue {version}"
    if version < 1:
        raise CatalogueError([f"{place}: version: {version}: must be at least 1"])
    try:
        begins = from_millis(effective_at)
        published = None if published_at is None else from_millis(published_at)
    except OverflowError:
        raise CatalogueError(
            [f"{place}: effective_at, published_at: {effective_at}, {published_at}: must be before year 10000"]
        ) from None
    if published is not None and begins <= published:
        said = f"must be after published_at ({published.isoformat()})"
        raise CatalogueError([f"{place}: effective_at: {begins.isoformat()}: {said}"])
    return PublishedCatalogue(version, begins, catalogue_of(tables_of(record)), published)


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that one catalogue has and another has not, or has with other cells; `before` or `after` is None then."""

    table: str
    key: str
    before: Row | None
    after: Row | None

    @property
    def sign(self) -> str:
        """`+` for a row that is new, `-` for one that is gone, `~` for one that changed."""
        return "+" if self.before is None else "-" if self.after is None else "~"

    def __str__(self) -> str:
        row = self.after or self.before or {}
        if self.before is not None and self.after is not None:
            said = "; ".join(
                f"{name}: {self.before[name] or '-'} -> {value or '-'}"
                for name, value in self.after.items()
                if value != self.before[name]
            )
        else:
            said = ", ".join(value for name, value in row.items() if value and name not in KEYS[self.table])
        return f"{self.sign} {_SINGULAR[self.table]} {self.key}: {said}"


_SINGULAR: Final = {"builds": "build", "aliases": "alias", "cves": "cve", "fixes": "fix", "lifecycle": "lifecycle"}


def differences(before: Tables, after: Tables) -> Iterator[Difference]:
    """What differs, table by table, in the order of the rows; what is gone comes first."""
    for table, names in KEYS.items():
        old, new = (
            {" ".join(row[name] for name in names): row for row in tables.rows[table]} for tables in (before, after)
        )
        for key in (key for key in old if key not in new):
            yield Difference(table, key, old[key], None)
        for key, row in new.items():
            if old.get(key) != row:
                yield Difference(table, key, old.get(key), row)


def summary(found: list[Difference]) -> str:
    """Differences in numbers, as `2 builds added, 1 fix changed`; `no difference` for none."""
    words = {"+": "added", "-": "removed", "~": "changed"}
    parts = []
    for table, singular in _SINGULAR.items():
        for sign, word in words.items():
            count = sum(item.table == table and item.sign == sign for item in found)
            if count:
                parts.append(f"{count} {singular if count == 1 else table} {word}")
    return ", ".join(parts) or "no difference"
