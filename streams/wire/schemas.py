"""The records' Avro schemas, as they ship with the product."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

import avro.schema

from streams.kafka.topics import TOPICS

Schema = dict[str, Any]
"""A record's Avro schema as parsed JSON."""

SCHEMA_DIR: Final[Traversable] = files("streams.schemas")
"""The repository's folder `schemas`, installed as a package of the product."""
REGISTRY_FILE: Final = "registry.json"

SUBJECTS: Final[Mapping[str, str]] = {name: f"{topic}-value" for name, topic in TOPICS.items()}
"""Registry subject by schema name."""

_NESTED = ("type", "items", "values", "fields")


def without(schema: Any, keys: AbstractSet[str]) -> Any:
    """A copy of `schema` in which no schema or field has any of the attributes `keys`; defaults stay untouched."""
    if isinstance(schema, list):
        return [without(branch, keys) for branch in schema]
    if isinstance(schema, dict):
        return {
            key: without(value, keys) if key in _NESTED else copy.deepcopy(value)
            for key, value in schema.items()
            if key not in keys
        }
    return schema


def without_docs(schema: Schema) -> Schema:
    """A copy of `schema` without any `doc`: what the registries hold and compare."""
    stripped: Schema = without(schema, {"doc"})
    return stripped


def _schema_text(name: str, folder: Traversable) -> str:
    return (folder / f"{name}.avsc").read_text(encoding="utf-8")


def load_schema(name: str, folder: Traversable = SCHEMA_DIR) -> Schema:
    """The schema of that name, such as `verdict`, docs included; a copy of the caller's own.

    Raises:
        ValueError: there is no schema of that name, or it is not JSON.
    """
    if name not in SUBJECTS:
        raise ValueError(f"no schema is named {name!r}; known are {', '.join(SUBJECTS)}")
    schema: Schema = json.loads(_schema_text(name, folder))
    return schema


def check_schemas(folder: Traversable = SCHEMA_DIR) -> list[str]:
    """Parse every schema with the Avro reference library; one line per error, none if all are well."""
    errors = []
    for name in SUBJECTS:
        try:
            avro.schema.parse((folder / f"{name}.avsc").read_text(encoding="utf-8"))
        except (OSError, avro.schema.AvroException, ValueError, TypeError, AttributeError, KeyError) as error:
            errors.append(f"{name}.avsc: {error}")
    return errors
