"""A state of another format is refused before anything is done with it; a new changelog says which one it has."""

from __future__ import annotations

import pytest

from streams.domain.tenant.quota import PaidDays, YearUse
from streams.domain.tenant.state import ExceptionGrant, Pause, TenantEnforcement
from streams.engine.partition.restore import NAME
from streams.engine.partition.state_format import STATE_FORMAT_KEY, check_format, first_rows
from streams.engine.ports import StoreError
from streams.state.inspect import format_of, shown_row, tenant_of
from streams.state.row_format import STATE_FORMAT as READS
from streams.state.tenant_row import encode_tenant
from streams.testing import MemoryStore

TENANT = TenantEnforcement(
    "tenant-1",
    pauses=(Pause(0, 86_400_000, (PaidDays(0, 1),)),),
    exceptions={"mx1": (ExceptionGrant(0, 86_400_000, "mail", "moves"),)},
    used={2026: YearUse(3, 250_000_000)},
)


def store_of(rows: dict[bytes, bytes | None]) -> MemoryStore:
    store = MemoryStore()
    store.write(rows)
    return store


def test_a_new_changelog_gets_its_name_first_and_then_the_format() -> None:
    rows = first_rows(store_of({}), READS)
    assert list(rows) == [NAME, STATE_FORMAT_KEY]
    assert rows[STATE_FORMAT_KEY] == b"%d" % READS
    assert first_rows(store_of({**rows}), READS) == {}
    assert list(first_rows(store_of({NAME: b"x"}), READS)) == [STATE_FORMAT_KEY]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ({STATE_FORMAT_KEY: b"99"}, "99"),
        ({STATE_FORMAT_KEY: b"1", b"s/t/x": b"\x02..."}, "1"),
        ({STATE_FORMAT_KEY: b"nonsense"}, "nonsense"),
        ({b"s/t/x": b"\x01..."}, "1"),
        ({b"t/t": b"\x07{}"}, "7"),
    ],
)
def test_any_other_format_is_refused_with_both_numbers(rows: dict[bytes, bytes | None], found: str) -> None:
    with pytest.raises(StoreError, match=f"state format {found}: this version reads format {READS} only"):
        check_format(store_of(rows), READS, format_of)


@pytest.mark.parametrize(
    "rows", [{}, {STATE_FORMAT_KEY: b"%d" % READS}, {b"t/t": encode_tenant(TENANT, None)}, {b"p/x": b"y"}]
)
def test_the_own_format_and_an_empty_state_are_taken(rows: dict[bytes, bytes | None]) -> None:
    check_format(store_of(rows), READS, format_of)


def test_every_row_of_a_tenant_names_it() -> None:
    due = b"d/" + (47).to_bytes(8, "big") + b"/tenant-1/mx1"
    keys = (b"s/tenant-1/mx1", b"t/tenant-1", b"f/tenant-1/mx1", b"v/tenant-1/1", b"w/tenant-1", b"x/tenant-1/mx1", due)
    assert {tenant_of(key) for key in keys} == {"tenant-1"}
    assert tenant_of(b"d/" + b"/" * 8 + b"/tenant-1/") == "tenant-1"
    assert {tenant_of(key) for key in (b"\0source-offset", b"p/policies")} == {None}
    with pytest.raises(StoreError, match="unknown to this version"):
        tenant_of(b"y/tenant-1")


def test_a_tenants_row_is_shown_with_its_moments() -> None:
    shown = shown_row(b"t/tenant-1", encode_tenant(TENANT, 86_400_000))
    assert shown is not None
    assert shown["due_at"] == "1970-01-02T00:00:00.000Z"
    assert shown["state"]["pauses"][0]["ends_at"] == "1970-01-02T00:00:00.000Z"
    assert shown["state"]["exceptions"]["mx1"][0]["owner"] == "mail"
    assert shown_row(b"f/tenant-1/mx1", b"12") == {
        "row": "forgotten",
        "format": READS,
        "tenant_id": "tenant-1",
        "server": "mx1",
        "revision": 12,
    }
