"""The registries that give each version of a schema its id: the file that ships, or a server."""

from __future__ import annotations

import copy
import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from importlib.resources.abc import Traversable
from typing import Any, Final, Protocol
from urllib.parse import quote

from streams.errors import DependencyError
from streams.kafka.authorities import trusting
from streams.kafka.secret_files import SecretFileError
from streams.settings.registry import RegistrySettings
from streams.wire.registry_credentials import authorization_of
from streams.wire.registry_http import MAX_BODY_BYTES, RegistryClient, RequestError, TooLongError
from streams.wire.schemas import REGISTRY_FILE, SCHEMA_DIR, Schema, without_docs

_MAX_ID: Final = (1 << 31) - 1

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
    """The registry could not be asked, or refused; says nothing about the record at hand, which may be tried again.

    `status` is the HTTP status of a refusal, None where there was no answer.
    """

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


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

    def __init__(
        self,
        url: str,
        timeout_seconds: float = 10.0,
        now: Callable[[], float] = time.monotonic,
        authorization: Callable[[], str | None] = lambda: None,
        context: ssl.SSLContext | None = None,
        prefix: str = "",
    ) -> None:
        """Ask a registry.

        Args:
            url: its address, http or https.
            timeout_seconds: how long each answer is waited for.
            now: returns seconds.
            authorization: returns the header of this name for the next request, None for none; it may raise
                SecretFileError.
            context: checks the registry's certificate; None for the system's.
            prefix: of the topics' names, and so of their subjects there.

        Raises:
            ValueError: `url` is neither http nor https.
        """
        self._client = RegistryClient(url, timeout_seconds, context)
        self._authorization, self._prefix = authorization, prefix
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
                self._ids[subject, text] = self._ask_for_id(f"{self._path_of(subject)}/versions", text)
            return self._ids[subject, text]

    def known_id_of(self, subject: str, schema: Schema) -> int | None:
        """See `SchemaRegistry.known_id_of`."""
        try:
            return self._ask_for_id(self._path_of(subject), json.dumps(without_docs(schema)))
        except RegistryError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def explain_incompatible(self, subject: str, schema: Schema) -> str | None:
        """Why the registry would not take `schema` as the next version of `subject`; None where it would.

        Raises:
            RegistryError: the registry did not answer.
        """
        path = f"/compatibility{self._path_of(subject)}/versions/latest?verbose=true"
        try:
            answer = self._ask(path, {"schema": json.dumps(without_docs(schema))})
        except RegistryError as error:
            if error.status == HTTPStatus.NOT_FOUND:  # there is no version yet
                return None
            raise
        if answer.get("is_compatible") is True:
            return None
        said = answer.get("messages")
        return (
            "; ".join(map(str, said)) if isinstance(said, list) and said else "not compatible with the newest version"
        )

    def _path_of(self, subject: str) -> str:
        return f"/subjects/{quote(self._prefix + subject, safe='')}"

    def _ask_for_id(self, path: str, text: str) -> int:
        answer = self._ask(path, {"schema": text})
        schema_id = answer.get("id")
        if type(schema_id) is not int or not 0 <= schema_id <= _MAX_ID:
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
            raise UnknownSchemaIdError(schema_id, f"its schema has more than {MAX_BODY_BYTES} bytes") from error
        except RegistryError as error:
            if error.status in _OF_ONE_ID:
                why = "not in the registry" if error.status == 404 else f"the registry returned HTTP {error.status}"
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
        try:
            return self._client.ask(path, body, self._authorization())
        except TooLongError as error:
            raise _TooLongError(str(error)) from error
        except RequestError as error:
            raise RegistryError(str(error), error.status) from error
        except SecretFileError as error:
            raise RegistryError(str(error)) from error


def may_learn(registry: SchemaRegistry) -> bool:
    """Whether an id that a registry does not know may be known to it later; the file that ships stays as it is."""
    return not isinstance(registry, LocalRegistry)


def registry_of(settings: RegistrySettings) -> SchemaRegistry:
    """The schema registry that the settings name.

    Raises:
        SettingsError: the file of its CA cannot be read.
    """
    if not settings.schema_registry_url:
        return LocalRegistry()
    return ConfluentRegistry(
        settings.schema_registry_url,
        authorization=partial(authorization_of, settings),
        context=trusting(settings, "registry_ca_file") if settings.schema_registry_url.startswith("https:") else None,
        prefix=settings.topic_prefix,
    )
