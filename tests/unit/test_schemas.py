"""The schemas are documented, registered and compatible; each forbidden change is refused with its field."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from streams.dev.schema_check import SCHEMA_PATH, check, incompatibilities, undocumented
from streams.wire.schemas import SUBJECTS, load_schema

BASE: dict[str, Any] = {
    "type": "record",
    "name": "R",
    "fields": [
        {"name": "a", "type": "int"},
        {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["X", "Y"], "default": "X"}},
        {"name": "n", "type": ["null", "string"], "default": None},
        {"name": "l", "type": {"type": "array", "items": {"type": "record", "name": "I", "fields": []}}},
    ],
}


def changed(index: int, **changes: Any) -> dict[str, Any]:
    schema = copy.deepcopy(BASE)
    schema["fields"][index] |= changes
    return schema


def both_ways(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return incompatibilities(one, other) + incompatibilities(other, one)


def test_the_committed_schemas_are_good() -> None:
    assert check() == []


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_field_has_a_doc(name: str) -> None:
    assert undocumented(load_schema(name)) == []


def test_a_field_with_a_default_may_come_and_go() -> None:
    more = copy.deepcopy(BASE)
    more["fields"].append({"name": "new", "type": "long", "default": 0})
    assert both_ways(BASE, more) == []


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (changed(0, type="string"), "R.a"),
        (changed(0, type="long"), "R.a"),
        (changed(0, name="b"), "R.b"),
        (changed(1, type={"type": "enum", "name": "E", "symbols": ["X", "Y", "Z"]}), None),
        (changed(2, type="string"), "R.n"),
        (changed(3, type={"type": "array", "items": "string"}), "R.l[]"),
        (changed(0, type={"type": "int", "logicalType": "date"}), "R.a"),
    ],
)
def test_what_breaks_a_reader_is_named(other: dict[str, Any], names: str | None) -> None:
    errors = both_ways(BASE, other)
    if names is None:
        assert bool(errors) is False
    else:
        assert any(error.startswith(f"{names}:") for error in errors)


def test_a_new_symbol_needs_a_default_in_the_reader() -> None:
    bare = changed(1, type={"type": "enum", "name": "E", "symbols": ["X"]})
    assert incompatibilities(bare, BASE) == ["R.e: Y unknown to the reader, which has no default"]


def test_an_incompatible_change_fails_the_check_and_is_not_registered(tmp_path: Path) -> None:
    folder = tmp_path / "schemas"
    shutil.copytree(SCHEMA_PATH, folder)
    path = folder / "verdict.avsc"
    schema = json.loads(path.read_text())
    schema["fields"].append({"name": "colour", "type": "string", "doc": "A field without default."})
    path.write_text(json.dumps(schema))
    before = (folder / "registry.json").read_bytes()
    assert any("Verdict.colour" in error for error in check(folder, register=True))
    assert (folder / "registry.json").read_bytes() == before
    schema["fields"][-1]["default"] = ""
    path.write_text(json.dumps(schema))
    assert any("--register" in error for error in check(folder))
    assert check(folder, register=True) == []
    assert check(folder) == []
