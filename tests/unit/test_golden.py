"""What is decided and stored is what it was: `python -m tests.golden` writes the files anew, for a review to judge."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from streams.domain.server.state import ServerEnforcement
from streams.domain.tenant.state import TenantEnforcement
from streams.service.effects import TenantChange
from streams.state.inspect import shown_row
from streams.state.server_row import decode_state
from streams.state.tenant_row import decode_tenant
from tests.golden import FOLDER
from tests.golden.decisions import POLICIES, simulated
from tests.golden.states import encoded, states
from tests.golden.stores import put_off_in, stored_rows, worker_rows
from tests.golden.values import full


def stored(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def rows_named(name: str) -> list[tuple[bytes, bytes]]:
    rows = stored("state_rows.json")
    return [(bytes.fromhex(row["key"]), bytes.fromhex(row["value"])) for row in rows if row["name"] == name]


@pytest.mark.parametrize("name", states())
def test_a_state_is_stored_in_the_same_bytes_and_read_from_them(name: str) -> None:
    state, due_at = states()[name]
    ((_, value),) = rows_named(name)
    assert encoded(state, due_at).hex() == value.hex()
    decode = decode_state if isinstance(state, ServerEnforcement) else decode_tenant
    assert decode(value) == (state, due_at)


def test_a_row_is_written_again_as_it_was_read() -> None:
    """Needs no name of a field, so that it also judges a change that gives fields other names."""
    rows = [(bytes.fromhex(row["key"]), bytes.fromhex(row["value"])) for row in stored("state_rows.json")]
    assert {key[:2] for key, _ in rows} >= {b"s/", b"t/"}
    for key, value in rows:
        if key.startswith(b"s/"):
            assert encoded(*decode_state(value)) == value
        if key.startswith(b"t/"):
            assert encoded(*decode_tenant(value)) == value


def test_every_state_that_is_made_is_stored_and_no_other() -> None:
    names = [row["name"] for row in stored("state_rows.json")]
    assert {*names} == {*states(), *stored_rows()}


@pytest.mark.parametrize("kind", [ServerEnforcement, TenantEnforcement])
def test_no_two_fields_of_a_full_state_hold_the_same(kind: type[Any]) -> None:
    state = full(kind)
    values = [getattr(state, item.name) for item in fields(kind)]
    others = [value for value in values if not isinstance(value, bool)]
    assert all(value not in (None, (), {}, b"", "") for value in others)
    assert len({repr(value) for value in others}) == len(others)


def test_a_row_shows_what_it_did() -> None:
    for row in stored("state_rows.json"):
        shown = shown_row(bytes.fromhex(row["key"]), bytes.fromhex(row["value"]))
        assert json.loads(json.dumps(shown)) == row["shows"]


def test_a_worker_leaves_the_same_rows_and_goes_on_from_them() -> None:
    rows = worker_rows()
    assert sorted(rows.items()) == sorted(rows_named("of a worker's store"))
    assert {key[:2] for key in rows} == {b"d/", b"f/", b"p/", b"s/", b"t/"}
    assert {key for key in rows if key.startswith(b"p/")} == {b"p/policies", b"p/progress"}
    after = worker_rows(dict(rows_named("of a worker's store")))
    assert b"p/progress" not in after
    assert after[b"p/policies"] != rows[b"p/policies"]


@pytest.mark.parametrize("name", stored_rows())
def test_a_store_has_the_rows_that_it_had(name: str) -> None:
    assert sorted(stored_rows()[name].items()) == sorted(rows_named(name))


def test_a_worker_in_a_sweep_has_rows_of_its_kinds() -> None:
    kinds = {key[:2] for key, _ in rows_named("of a worker's store, in a sweep")}
    assert kinds == {b"d/", b"p/", b"s/", b"t/", b"v/", b"w/", b"x/"}


def test_a_change_that_is_put_off_is_read_from_its_rows() -> None:
    assert [*put_off_in(dict(rows_named("of a change that is put off")))] == [full(TenantChange)]


@pytest.mark.no_cover
@pytest.mark.parametrize("policy", POLICIES)
def test_the_sample_feed_gives_what_it_gave(policy: str) -> None:
    found, expected = simulated(policy), stored("simulate.json")[policy]
    for name in sorted({*found, *expected}):
        assert found.get(name) == expected.get(name), name


def test_the_policies_decide_otherwise_about_the_sample_feed() -> None:
    one, other = stored("simulate.json").values()
    assert one["verdicts.jsonl"]["counts"] != other["verdicts.jsonl"]["counts"]
