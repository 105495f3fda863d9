"""Checks the schemas: valid, documented, registered, and every version of a subject able to read every other.

    python -m streams.dev.schema_check [--register]

No kept library that could be installed beside avro-python3 checks compatibility, so the resolution rules of the Avro
specification ("Schema Resolution") are here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streams.wire.schemas import REGISTRY_FILE, SCHEMA_DIR, SUBJECTS, Schema, check_schemas, load_schema, without_docs

SCHEMA_PATH = Path(str(SCHEMA_DIR))
"""The folder itself: `--register` writes to it."""

_PROMOTIONS = {
    ("int", "long"), ("int", "float"), ("int", "double"), ("long", "float"), ("long", "double"),
    ("float", "double"), ("string", "bytes"), ("bytes", "string"),
}  # fmt: skip


class _Names:
    """A schema with the named types that it defines."""

    def __init__(self, schema: Schema) -> None:
        self.root = schema
        self.types: dict[str, dict[str, Any]] = {}
        self._collect(schema)

    def _collect(self, node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                self._collect(item)
        elif isinstance(node, dict):
            if "name" in node and node.get("type") in ("record", "enum", "fixed"):
                self.types[node["name"]] = node
            for key in ("type", "items", "values", "fields"):
                self._collect(node.get(key))

    def plain(self, node: Any) -> Any:
        """The definition behind a name, the inner type of a wrapper as {"type": {...}}."""
        while isinstance(node, str) and node.rpartition(".")[2] in self.types:
            node = self.types[node.rpartition(".")[2]]
        if isinstance(node, dict) and isinstance(node.get("type"), dict | list):
            return self.plain(node["type"])
        return node


def _kind(node: Any) -> str:
    return "union" if isinstance(node, list) else str(node["type"]) if isinstance(node, dict) else str(node)


def incompatibilities(reader: Schema, writer: Schema) -> list[str]:
    """Why data of `writer` cannot be read by `reader`, as `path: reason`; empty when it can."""
    seen: set[tuple[str, str]] = set()
    return list(_compare(_Names(reader), reader, _Names(writer), writer, reader.get("name", ""), seen))


def _compare(
    readers: _Names, reader: Any, writers: _Names, writer: Any, path: str, seen: set[tuple[str, str]]
) -> Iterator[str]:
    reader, writer = readers.plain(reader), writers.plain(writer)
    read, written = _kind(reader), _kind(writer)
    if written == "union":
        for branch in writer:
            yield from _compare(readers, reader, writers, branch, path, seen)
        return
    if read == "union":
        if not any(_fits(readers, branch, writers, writer, path, seen) for branch in reader):
            yield f"{path}: no branch of the reader takes {written}"
        return
    if read != written:
        if (written, read) not in _PROMOTIONS:
            yield f"{path}: {written} cannot be read as {read}"
        return
    meaning, written_meaning = (
        node.get("logicalType") if isinstance(node, dict) else None for node in (reader, writer)
    )
    if meaning != written_meaning:
        yield f"{path}: logical type {written_meaning} cannot be read as {meaning}"
        return
    match read:
        case "array":
            yield from _compare(readers, reader["items"], writers, writer["items"], f"{path}[]", seen)
        case "map":
            yield from _compare(readers, reader["values"], writers, writer["values"], f"{path}{{}}", seen)
        case "enum":
            missing = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
            if reader["name"] != writer["name"]:
                yield f"{path}: {writer['name']} cannot be read as {reader['name']}"
            elif missing and "default" not in reader:
                yield f"{path}: {', '.join(missing)} unknown to the reader, which has no default"
        case "record":
            if reader["name"] != writer["name"]:
                yield f"{path}: {writer['name']} cannot be read as {reader['name']}"
            elif (reader["name"], path) not in seen:
                seen.add((reader["name"], path))
                yield from _compare_fields(readers, reader, writers, writer, path, seen)
        case _:
            return


def _compare_fields(
    readers: _Names, reader: Any, writers: _Names, writer: Any, path: str, seen: set[tuple[str, str]]
) -> Iterator[str]:
    written = {field["name"]: field for field in writer["fields"]}
    for field in reader["fields"]:
        at = f"{path}.{field['name']}"
        if field["name"] in written:
            yield from _compare(readers, field["type"], writers, written[field["name"]]["type"], at, seen)
        elif "default" not in field:
            yield f"{at}: the writer does not have it, and it has no default"


def _fits(readers: _Names, reader: Any, writers: _Names, writer: Any, path: str, seen: set[tuple[str, str]]) -> bool:
    return not list(_compare(readers, reader, writers, writer, path, set(seen)))


def undocumented(schema: Schema) -> list[str]:
    """Records, fields and enums without `doc`, and enums without `default`, as `path: reason`."""
    return list(_undocumented(schema, schema.get("name", "")))


def _undocumented(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _undocumented(item, path)
    elif isinstance(node, dict):
        is_named = node.get("type") in ("record", "enum")
        if is_named and not node.get("doc"):
            yield f"{path}: {node['type']} {node['name']} has no doc"
        if node.get("type") == "enum" and "default" not in node:
            yield f"{path}: enum {node['name']} has no default"
        for field in node.get("fields", ()):
            at = f"{path}.{field['name']}"
            if not field.get("doc"):
                yield f"{at}: has no doc"
            yield from _undocumented(field["type"], at)
        for key in ("type", "items", "values"):
            yield from _undocumented(node.get(key), path)


def check(folder: Path = SCHEMA_PATH, register: bool = False) -> list[str]:
    """Every error of the schemas and the registry; `register` adds a changed schema that is compatible."""
    errors = check_schemas(folder)
    if errors:
        return errors
    path = folder / REGISTRY_FILE
    registry: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
    has_new = False
    for name, subject in SUBJECTS.items():
        schema = load_schema(name, folder)
        errors += [f"{name}.avsc: {error}" for error in undocumented(schema)]
        versions = registry.setdefault(subject, [])
        known = [version["schema"] for version in versions]
        current = without_docs(schema)
        if not known or known[-1] != current:
            known.append(current)
            if register:
                ids = [version["id"] for rows in registry.values() for version in rows]
                versions.append({"version": len(versions) + 1, "id": max(ids, default=0) + 1, "schema": current})
                has_new = True
            else:
                errors.append(f"{name}.avsc: is not the newest registered version of {subject}; use --register")
        for index, one in enumerate(known):
            for other in known[:index] + known[index + 1 :]:
                errors += [f"{subject}: {reason}" for reason in incompatibilities(one, other)]
    if has_new and not errors:
        path.write_text(json.dumps(registry, indent=1) + "\n", encoding="utf-8")
    return errors


def main() -> int:
    """Check; exit code 1 with one error a line."""
    parser = argparse.ArgumentParser(description="check the Avro schemas and their registry")
    parser.add_argument("--register", action="store_true", help="add changed schemas that are compatible")
    errors = check(register=parser.parse_args().register)
    for error in errors:
        print(error, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
