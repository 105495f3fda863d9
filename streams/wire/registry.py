"""The registries that give each version of a schema its id: the file that ships, or a server."""

from __future__ import annotations

import copy
import http.client
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from importlib.resources.abc import Traversable
from typing import Any, Final, Protocol

from streams.errors import DependencyError
from streams.settings.edge import EdgeSettings
from streams.settings.notify import NotifySettings
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings
from streams.wire.schemas import REGISTRY_FILE, SCHEMA_DIR, Schema, without_docs

_CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
_MAX_RESPONSE_BYTES = 4 * 1_048_576

UNKNOWN_SECONDS: Final = 60.0
"""How long an id without a usable schema is not asked for again; it may have been registered meanwhile."""
UNKNOWN_ASKED: Final = 60
"""Ids without a usable schema that the registry is asked for within `UNKNOWN_SECONDS`: whoever writes records may name
any, and the worker waits for each answer."""
_OF_ONE_ID: Final = frozenset((400, 404, 410, 422))
"""HTTP status codes that say something of the id that was asked for, and nothing of the registry."""


class UnknownSchemaIdError(ValueError):
    """No usable schema has this id; the message names it."""

    def __init__(self, schema_id: int, why: str = "not in the registry") -> None:
        super().__init__(f"unknown schema id {schema_id}: {why}")
        self.schema_id, self.why = schema_id, why


class UnregisteredSchemaError(ValueError):
    """A schema is not among the registered versions of its subject."""


class RegistryError(DependencyError):
    """The registry could not be asked, or refused; says nothing about the record at hand, which may be tried again."""


class _TooLongError(RegistryError):
    """An answer is longer than it may be."""


class SchemaRegistry(Protocol):
    """Gives schemas their ids, and back."""

    def id_of(self, subject: str, schema: Schema) -> int:
        """The id of `schema` under `subject`; docs make no difference.

        Raises:
            UnregisteredSchemaError: it has none.
            RegistryError: the registry did not answer or refused the schema.
        """
        ...

    def known_id_of(self, subject: str, schema: Schema) -> int | None:
        """The id of `schema` if it is a version of `subject` already, else None; registers nothing.

        Raises:
            RegistryError: the registry did not answer.
        """
        ...

    def schema_of(self, schema_id: int) -> Schema:
        """The schema with this id; a copy of the caller's own.

        Raises:
            UnknownSchemaIdError: there is none, none of use, or too many such ids were asked for lately.
            RegistryError: the registry did not answer.
        """
        ...


class LocalRegistry:
    """The committed registry (`registry.json`): needs no network, and knows what was released with the product."""

    def __init__(self, path: Traversable = SCHEMA_DIR / REGISTRY_FILE) -> None:
        """Read the registry.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not JSON, or two versions share an id.
        """
        self._subjects: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
        self._by_id: dict[int, Schema] = {}
        for subject, versions in self._subjects.items():
            for version in versions:
                if version["id"] in self._by_id:
                    raise ValueError(f"{path.name}: {subject}: id {version['id']} occurs twice")
                self._by_id[version["id"]] = version["schema"]

    def id_of(self, subject: str, schema: Schema) -> int:
        """See `SchemaRegistry.id_of`; the newest version wins if several are equal."""
        wanted = without_docs(schema)
        for version in reversed(self._subjects.get(subject, [])):
            if version["schema"] == wanted:
                schema_id: int = version["id"]
                return schema_id
        raise UnregisteredSchemaError(f"{schema.get('name')} is not a registered version of {subject}")

    def known_id_of(self, subject: str, schema: Schema) -> int | None:
        """See `SchemaRegistry.known_id_of`."""
        try:
            return self.id_of(subject, schema)
        except UnregisteredSchemaError:
            return None

    def schema_of(self, schema_id: int) -> Schema:
        """See `SchemaRegistry.schema_of`."""
        if schema_id not in self._by_id:
            raise UnknownSchemaIdError(schema_id)
        return copy.deepcopy(self._by_id[schema_id])


class ConfluentRegistry:
    """A registry with Confluent's HTTP interface.

    Schemas are kept, as an id never changes its meaning. An id without one is remembered for `UNKNOWN_SECONDS`, and of
    such ids at most `UNKNOWN_ASKED` are asked for meanwhile: every other that is not known counts as unknown then.
    """

    def __init__(self, url: str, timeout_seconds: float = 10.0, now: Callable[[], float] = time.monotonic) -> None:
        """Ask the registry at `url` (http or https), waiting at most `timeout_seconds` for each answer.

        Raises:
            ValueError: `url` is neither http nor https.
        """
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"not an http or https address: {url!r}")
        self._url = url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._ids: dict[tuple[str, str], int] = {}
        self._schemas: dict[int, Schema] = {}
        self._now = now
        self._unknown: dict[int, str] = {}  # why
        self._asked: deque[tuple[float, int]] = deque()  # when, and for which of the unknown ids
        self._lock = threading.Lock()

    def id_of(self, subject: str, schema: Schema) -> int:
        """See `SchemaRegistry.id_of`; registers the schema if it is new."""
        text = json.dumps(without_docs(schema))
        with self._lock:
            if (subject, text) not in self._ids:
                self._ids[subject, text] = self._ask_for_id(f"{_path_of(subject)}/versions", text)
            return self._ids[subject, text]

    def known_id_of(self, subject: str, schema: Schema) -> int | None:
        """See `SchemaRegistry.known_id_of`."""
        try:
            return self._ask_for_id(_path_of(subject), json.dumps(without_docs(schema)))
        except RegistryError as error:
            if isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    def _ask_for_id(self, path: str, text: str) -> int:
        answer = self._ask(path, {"schema": text})
        schema_id = answer.get("id")
        if not isinstance(schema_id, int):
            raise RegistryError(f"{path}: the response has no id: {str(answer)[:200]}")
        return schema_id

    def schema_of(self, schema_id: int) -> Schema:
        """See `SchemaRegistry.schema_of`."""
        with self._lock:
            if schema_id not in self._schemas:
                self._refuse_unknown(schema_id)
                try:
                    self._schemas[schema_id] = self._fetch(schema_id)
                except UnknownSchemaIdError as error:
                    self._unknown[schema_id] = error.why
                    self._asked.append((self._now(), schema_id))
                    raise
            return copy.deepcopy(self._schemas[schema_id])

    def _refuse_unknown(self, schema_id: int) -> None:
        while self._asked and self._asked[0][0] <= self._now() - UNKNOWN_SECONDS:
            del self._unknown[self._asked.popleft()[1]]
        if schema_id in self._unknown:
            raise UnknownSchemaIdError(schema_id, self._unknown[schema_id])
        if len(self._asked) >= UNKNOWN_ASKED:
            why = f"not looked up, after {UNKNOWN_ASKED} unknown ids within {UNKNOWN_SECONDS:.0f} s"
            raise UnknownSchemaIdError(schema_id, why)

    def _fetch(self, schema_id: int) -> Schema:
        try:
            answer = self._ask(f"/schemas/ids/{schema_id}")
        except _TooLongError as error:
            raise UnknownSchemaIdError(schema_id, f"its schema has more than {_MAX_RESPONSE_BYTES} bytes") from error
        except RegistryError as error:
            cause = error.__cause__
            if isinstance(cause, urllib.error.HTTPError) and cause.code in _OF_ONE_ID:
                why = "not in the registry" if cause.code == 404 else f"the registry returned HTTP {cause.code}"
                raise UnknownSchemaIdError(schema_id, why) from error
            raise
        if answer.get("schemaType", "AVRO") != "AVRO":
            raise UnknownSchemaIdError(schema_id, f"not an Avro schema but {str(answer['schemaType'])[:50]}")
        if not isinstance(text := answer.get("schema"), str):
            raise RegistryError(f"schema id {schema_id}: the response has no schema: {str(answer)[:200]}")
        try:
            schema = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UnknownSchemaIdError(schema_id, f"its schema is not JSON: {str(error)[:100]}") from error
        if not isinstance(schema, dict):
            raise UnknownSchemaIdError(schema_id, "not a record's schema")
        return schema

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - the constructor takes http and https only
            self._url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Accept": _CONTENT_TYPE, "Content-Type": _CONTENT_TYPE},
        )
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_seconds) as response:  # noqa: S310 - as above
                text = response.read(_MAX_RESPONSE_BYTES + 1)
            if len(text) > _MAX_RESPONSE_BYTES:
                raise _TooLongError(f"{path}: a response of more than {_MAX_RESPONSE_BYTES} bytes")
            answer = json.loads(text)
        except urllib.error.HTTPError as error:
            raise RegistryError(f"{path}: HTTP {error.code}: {_detail(error)}") from error
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            raise RegistryError(f"{path}: {type(error).__name__}: {error}") from error
        if not isinstance(answer, dict):
            raise RegistryError(f"{path}: the response is not an object: {str(answer)[:200]}")
        return answer


def _path_of(subject: str) -> str:
    return f"/subjects/{urllib.parse.quote(subject, safe='')}"


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        return error.read(1_000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return "without a readable body"


def may_learn(registry: SchemaRegistry) -> bool:
    """Whether an id that a registry does not know may be known to it later; the file that ships stays as it is."""
    return not isinstance(registry, LocalRegistry)


def registry_of(settings: Settings | EdgeSettings | NotifySettings | ReportSettings) -> SchemaRegistry:
    """The schema registry that the settings name."""
    return ConfluentRegistry(settings.schema_registry_url) if settings.schema_registry_url else LocalRegistry()
