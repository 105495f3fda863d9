"""The connectors in force: those of the file and those of the topic together, replaced without a restart."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import orjson

from streams.edge.client import Client, Connector
from streams.edge.connectors.entries import TYPES, ConnectorsError, Entry, EntryReader
from streams.edge.connectors.files import FileVersion, read_connectors
from streams.edge.connectors.matching import Matcher
from streams.edge.connectors.overlaps import overlap_errors
from streams.log_events import log_event

log = logging.getLogger(__name__)

FILE, TOPIC = "file", "topic"
NEVER_READ: Final = 0
"""The version of connectors on disk before the topic was read, and after the disk lost them."""
_LOGGED_ERRORS = 10


class _Loaded(NamedTuple):
    """The connectors of one source in force, and which version of it they are."""

    version: FileVersion | int | None = None
    entries: Sequence[Entry] = ()


class PublishedConnectors(Protocol):
    """The connectors of the topic, as they are on disk."""

    @property
    def connectors_version(self) -> int:
        """Another number whenever they changed."""

    def connectors(self) -> Sequence[bytes]:
        """Each as the JSON object of its record."""


class RunningConnectors:
    """Finds the connector of a client. A set that is refused leaves the one in force as it is."""

    def __init__(self, file: Path | None, published: PublishedConnectors, refused: Callable[[], None]) -> None:
        """Use the connectors of a file and of the topic.

        Args:
            file: None for none.
            published: those of the topic.
            refused: called for every set that is refused.
        """
        self._file, self._published, self._on_refused = file, published, refused
        self._matcher = Matcher()
        self._of_file, self._of_topic = _Loaded(), _Loaded()
        self._tried: tuple[object, object] = (None, None)
        self.errors: Sequence[str] = ()
        """Why the newest set is not in force; nothing where it is."""

    @property
    def counts(self) -> dict[str, int]:
        """How many are in force, by source."""
        return {FILE: len(self._of_file.entries), TOPIC: len(self._of_topic.entries)}

    def find(self, client: Client) -> Connector | None:
        """See `ports.Connectors`."""
        return self._matcher.find(client)

    def start(self) -> None:
        """Read both.

        Raises:
            ConnectorsError: the file is refused, and there is nothing yet to stay in force.
        """
        if self._file is not None:
            version = FileVersion.of(self._file)
            self._use(_Loaded(version, read_connectors(self._file)), self._of_topic)
        tried, rows = self._changed()
        self._apply(tried, self._parse(tried, rows))

    async def poll(self) -> None:
        """Use what changed; called about once a second."""
        tried, rows = self._changed()
        if tried != self._tried:
            # A long file takes a while to read, and mail does not wait for it.
            self._apply(tried, await asyncio.to_thread(self._parse, tried, rows))

    def _changed(self) -> tuple[tuple[FileVersion | None, int], Sequence[bytes] | None]:
        """The versions as they are now, and the topic's rows where they are others than those in force."""
        version = None if self._file is None else FileVersion.of(self._file)
        published = self._published.connectors_version
        is_new = published not in (NEVER_READ, self._of_topic.version)
        return (version, published), self._published.connectors() if is_new else None

    def _parse(
        self, tried: tuple[FileVersion | None, int], rows: Sequence[bytes] | None
    ) -> tuple[_Loaded, _Loaded] | ConnectorsError:
        of_file, of_topic = self._of_file, self._of_topic
        try:
            if self._file is not None and tried[0] != of_file.version:
                of_file = _Loaded(tried[0], read_connectors(self._file))
            if rows is not None:
                of_topic = _Loaded(tried[1], published_entries(rows))
            if errors := overlap_errors([*of_file.entries, *of_topic.entries]):
                return ConnectorsError(errors)
        except ConnectorsError as error:
            return error
        return of_file, of_topic

    def _apply(self, tried: tuple[object, object], parsed: tuple[_Loaded, _Loaded] | ConnectorsError) -> None:
        self._tried = tried
        if isinstance(parsed, ConnectorsError):
            self._refuse(parsed.errors)
        elif parsed != (self._of_file, self._of_topic) or self.errors:
            self._use(*parsed)

    def _use(self, of_file: _Loaded, of_topic: _Loaded) -> None:
        self._matcher = Matcher([*of_file.entries, *of_topic.entries])
        self._of_file, self._of_topic, self.errors = of_file, of_topic, ()
        about = log_event("connectors_loaded", **self.counts)
        log.info("connectors in force: %d of the file, %d of the topic", *self.counts.values(), extra=about)

    def _refuse(self, errors: Sequence[str]) -> None:
        self.errors = errors
        self._on_refused()
        about = log_event("connectors_refused", errors=len(errors))
        said = "; ".join(errors[:_LOGGED_ERRORS])
        log.error("connectors refused, those in force stay: %s", said, extra=about)


def published_entries(rows: Sequence[bytes]) -> list[Entry]:
    """The connectors of the topic's records, as JSON; those of another type than a connector can have are ignored.

    Raises:
        ConnectorsError: a record is malformed.
    """
    reader = EntryReader("enforcement.connectors.v1")
    entries = []
    for index, row in enumerate(rows):
        try:
            record = orjson.loads(row)
        except ValueError:
            record = None
        if isinstance(record, dict):
            if record.get("type") not in TYPES:
                continue
            record = content_of(record)
        if (entry := reader.entry(record, index)) is not None:
            entries.append(entry)
    if reader.errors:
        raise ConnectorsError(reader.errors)
    return entries


def content_of(record: dict[str, object]) -> dict[str, object]:
    """A topic's record as an entry of the file."""
    heads = {name: record.get(name) for name in ("connector_id", "tenant_id", "type")}
    return {**heads, "match": {name: record.get(name, []) for name in ("tls_subjects", "tls_fingerprints", "cidrs")}}
