"""What every schema registry promises, run on the committed one and on one over HTTP that knows the same schemas."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.errors import is_records_fault
from streams.testing import ManualClock
from streams.wire.codec import AvroCodec
from streams.wire.registry import ConfluentRegistry, LocalRegistry, SchemaRegistry, UnknownSchemaIdError
from streams.wire.schemas import SUBJECTS, load_schema, without_docs
from tests.support.registry_server import RegistryServer


@pytest.fixture(params=["local", "http"])
def registry(request: pytest.FixtureRequest) -> Iterator[SchemaRegistry]:
    if request.param == "local":
        yield LocalRegistry()
        return
    with RegistryServer() as server:
        yield ConfluentRegistry(server.url, timeout_seconds=5.0, now=ManualClock())


@pytest.mark.parametrize("name", SUBJECTS)
def test_an_id_gives_the_schema_that_has_it(registry: SchemaRegistry, name: str) -> None:
    schema = load_schema(name)
    schema_id = registry.id_of(SUBJECTS[name], schema)
    assert registry.schema_of(schema_id) == without_docs(schema)
    assert registry.id_of(SUBJECTS[name], without_docs(schema)) == schema_id


def test_ids_are_told_apart_by_subject(registry: SchemaRegistry) -> None:
    assert len({registry.id_of(subject, load_schema(name)) for name, subject in SUBJECTS.items()}) == len(SUBJECTS)


def test_a_schema_is_the_callers_own_copy(registry: SchemaRegistry) -> None:
    registry.schema_of(1)["name"] = "spoilt"
    assert registry.schema_of(1)["name"] != "spoilt"


def test_an_unknown_id_is_the_records_fault_and_named(registry: SchemaRegistry) -> None:
    with pytest.raises(UnknownSchemaIdError, match="7000") as caught:
        registry.schema_of(7_000)
    assert is_records_fault(caught.value)
    assert registry.schema_of(1)


def test_both_write_the_same_bytes(registry: SchemaRegistry) -> None:
    record = {
        "command_id": "c1",
        "tenant_id": "contoso",
        "kind": "PAUSE_CREATE",
        "issued_at": 1_790_000_000_000,
        "issued_by": "admin",
        "role": "OPERATOR",
        **dict.fromkeys(("days", "server", "owner", "reason", "build", "expires_at", "malformed")),
    }
    value = AvroCodec("admin_command", registry).encode(record)
    assert value == AvroCodec("admin_command", LocalRegistry()).encode(record)
    assert AvroCodec("admin_command", registry).decode(value) == record
