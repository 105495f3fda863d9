"""The bytes of keys: what is stored and published today has to be found under them tomorrow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.domain.edge import hour_offset
from streams.domain.keys import ServerKey
from streams.domain.outputs.verdict import verdict_id
from streams.state.keys import (
    parse_server_key,
    parse_timer_key,
    raw_server_key,
    server_key,
    servers_range,
    swept_server_key,
    timer_key,
    tombstone_key,
)

KEYS = {
    b"t1/mx.example.com": ServerKey("t1", "mx.example.com"),
    "t1/mäx/1".encode(): ServerKey("t1", "mäx/1"),  # only the first slash ends the tenant
    b"t1/": ServerKey("t1", ""),  # the tenant itself, in the due index
}


@pytest.mark.parametrize(("text", "key"), KEYS.items())
def test_a_key_is_written_and_read_back(text: bytes, key: ServerKey) -> None:
    assert key.topic_key() == text
    assert ServerKey.parse(text) == key


def test_a_key_without_a_server_is_its_tenants() -> None:
    assert ServerKey.parse(b"t1") == ServerKey("t1", "")


@pytest.mark.parametrize(("row_of", "prefix"), [(server_key, b"s/"), (tombstone_key, b"f/"), (swept_server_key, b"x/")])
def test_a_row_of_a_server_is_its_key_behind_a_letter(row_of: Callable[[ServerKey], bytes], prefix: bytes) -> None:
    for text, key in KEYS.items():
        assert row_of(key) == prefix + text
        assert parse_server_key(row_of(key)) == key


@pytest.mark.parametrize("key", KEYS.values())
def test_names_of_a_record_give_the_same_row(key: ServerKey) -> None:
    assert raw_server_key(key.tenant_id.encode(), key.server.encode()) == server_key(key)


@pytest.mark.parametrize(("text", "key"), KEYS.items())
def test_a_row_of_the_due_index_has_its_moment_before_the_key(text: bytes, key: ServerKey) -> None:
    row = timer_key(0x010203, key)
    assert row == b"d/\0\0\0\0\0\1\2\3/" + text
    assert parse_timer_key(row) == (0x010203, key)


def test_a_tenants_servers_stand_in_its_range_and_no_others() -> None:
    start, end = servers_range("t1")
    assert all(start <= server_key(key) < end for key in KEYS.values())
    assert not any(
        start <= server_key(ServerKey(tenant, "mx.example.com")) < end for tenant in ("t", "t10", "t1-", "t2")
    )


def test_ids_and_minutes_that_follow_from_a_key_stay() -> None:
    key = ServerKey("contoso", "mx1.example.com")
    assert (verdict_id(key, 3), hour_offset(key)) == ("57ccbdee-80b7-5f27-ac68-941fae5d6df2", 53)
