"""What a hostile line of a feed, a command file or a report must not do: each case crashed a command or a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.exchange.build import parse_build
from streams.domain.exchange.detection import detect
from streams.domain.exchange.received import parse_received
from streams.domain.tenant.audit import CommandOutcome
from streams.domain.validation import MalformedError
from streams.wire.codec import AvroCodec
from streams.wire.records import command_of, command_record, connection_record, to_json_line, to_record
from streams.wire.registry import LocalRegistry
from streams.wire.server_report import report_of_record, rows_of_file
from streams.worker.header_cache import LINE_BYTES, MAX_CACHED_CHARS, MAX_GATEWAYS, HeaderCache, id_at
from tests.support.cached_headers import found_in
from tests.support.episodes import DETECTED, connection, run

CONNECTION: dict[str, Any] = {
    "event_id": "e1",
    "observed_at": "2024-03-29T00:00:00.000Z",
    "tenant_id": "contoso",
    "connector_type": "ON_PREMISES",
    "source_ip": "192.0.2.1",
    "received": [],
}
COMMAND: dict[str, Any] = {
    "command_id": "c1",
    "tenant_id": "contoso",
    "issued_at": "2024-03-29T00:00:00.000Z",
    "issued_by": "operator",
    "role": "OPERATOR",
    "kind": "PAUSE_CREATE",
    "days": 5,
}


def test_an_address_in_capitals_names_the_same_server_and_a_command_finds_it() -> None:
    """Commands name servers in small letters: a name with capitals could not be paused or excepted."""
    for address in ("2001:DB8::1", "2001:db8::1"):
        assert detect([], "", address).server == "ip:2001:db8::1"


def nested(depth: int) -> bytes:
    """A list in a list, and so on."""
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize("value", [[], {}, ["ON_PREMISES"], 1, True])
@pytest.mark.parametrize("name", ["connector_type", "outcome"])
def test_a_connection_with_a_list_for_a_name_is_malformed(name: str, value: object) -> None:
    with pytest.raises(MalformedError, match=f"{name}: .*: must be one of"):
        connection_record(orjson.dumps(CONNECTION | {name: value}))


@pytest.mark.parametrize(
    ("read", "row"), [(connection_record, CONNECTION), (command_record, COMMAND)], ids=["connection", "command"]
)
def test_a_value_nested_as_deep_as_json_may_be_is_malformed(
    read: Callable[[bytes], dict[str, Any]], row: dict[str, Any]
) -> None:
    for name in ("received", "tenant_id", "observed_at", "issued_at", "recipients", "connector_type"):
        line = orjson.dumps(row | {name: "?"}).replace(b'"?"', nested(1000))
        if name in row:
            with pytest.raises(MalformedError, match=name):
                read(line)


@pytest.mark.parametrize("name", ["role", "kind", "days", "server", "expires_at", "x"])
def test_a_command_with_a_deep_value_is_refused_by_that_fields_name(name: str) -> None:
    for value in (b"{}", b"[]", nested(1000)):
        record = command_record(orjson.dumps(COMMAND | {name: "?"}).replace(b'"?"', value))
        assert str(record["malformed"]).startswith(f"{name}: ")


def test_what_is_wrong_with_a_command_is_told_shortly_however_much_is_wrong() -> None:
    record = command_record(orjson.dumps(COMMAND | {f"{n}{'x' * 1000}": n for n in range(1000)}))
    assert len(record["malformed"]) <= 1000
    assert AvroCodec("admin_command", LocalRegistry()).encode(record)


@pytest.mark.parametrize("expires_at", [-(2**63), -(10**15), 2**63 - 1, 10**15])
def test_a_command_that_expires_beyond_the_calendar_is_refused_with_an_audit_record(expires_at: int) -> None:
    found = run(connection(DETECTED))
    server = next(iter(found.results.servers))[1]
    given = {"kind": "EXCEPTION_GRANT", "server": server, "owner": "o", "reason": "r"}
    found.command(command_of(command_record(orjson.dumps(COMMAND | given)) | {"expires_at": expires_at}))
    (audit,) = found.results.audit
    assert audit.outcome is CommandOutcome.REFUSED
    assert audit.reason == f"expires_at: {expires_at}: must be a timestamp from 2000 to 2099, in milliseconds"


@pytest.mark.parametrize(
    ("begin", "end", "fields"),
    [
        ("PAUSE_CREATE", "PAUSE_CANCEL", {"days": 1}),
        ("PAUSE_SERVER", "PAUSE_CANCEL", {"days": 1}),
        ("EXCEPTION_GRANT", "EXCEPTION_REVOKE", {"owner": "o", "reason": "r", "expires_at": "2025-01-01T00:00:00Z"}),
    ],
)
def test_what_begins_and_ends_in_one_moment_does_not_make_a_tenants_state_grow(
    begin: str, end: str, fields: dict[str, Any]
) -> None:
    """It cost no quota, so a tenant could make each of its commands slower than the one before."""
    found = run(connection(DETECTED))
    (tenant_id, server), *_ = found.results.servers
    server_or_none = None if begin == "PAUSE_CREATE" else server
    for number in range(20):
        for kind in (begin, end):
            given = fields | {"command_id": f"{kind}{number}", "kind": kind, "server": server_or_none}
            found.command(command_of(command_record(orjson.dumps(COMMAND | given))))
    assert [audit.outcome for audit in found.results.audit] == [CommandOutcome.ACCEPTED] * 40
    tenant = found.tenants[tenant_id]
    assert (tenant.pauses, *tenant.server_pauses.values(), *tenant.exceptions.values()) in (((),), ((), ()))


def row(**fields: Any) -> dict[str, Any]:
    """A row of the report as JSON has it, with other values."""
    (report,) = run(connection(DETECTED)).results.servers.values()
    return {**orjson.loads(to_json_line(to_record(report))), **fields}


@pytest.mark.parametrize(
    "fields",
    [
        {"last_seen_at": 2**62},
        {"last_seen_at": 5},
        {"support_ends_on": 2**31},
        {"support_ends_on": "tomorrow"},
        {"stage": []},
        {"stage": "1"},
        {"evidence": {}},
        {"finding": "FINE"},
        {"connections": True},
    ],
)
def test_a_row_with_a_value_that_the_service_does_not_write_is_malformed(fields: dict[str, Any]) -> None:
    assert list(rows_of_file([orjson.dumps(row())]))
    with pytest.raises(MalformedError, match="line 1: "):
        list(rows_of_file([orjson.dumps(row(**fields))]))


def test_a_row_that_lacks_fields_or_is_nested_without_end_is_malformed() -> None:
    deep = orjson.dumps(row(schedule="?")).replace(b'"?"', nested(1000))
    for line in (b'{"tenant_id": "contoso", "server": "mx"}', deep):
        with pytest.raises(MalformedError, match="line 1: "):
            list(rows_of_file([line]))


def test_a_row_whose_support_ends_beyond_the_calendar_is_malformed() -> None:
    (record,) = rows_of_file([orjson.dumps(row())])
    with pytest.raises(MalformedError, match="OverflowError"):
        report_of_record(record | {"support_ends_on": 2**31 - 1})


@pytest.mark.parametrize("letter", "\u0130\u0131\u017f\u212a")
def test_no_letter_that_folds_to_ascii_is_read_as_one(letter: str) -> None:
    line = (
        "from a.example ([192.0.2.1]) by mx1.example with Microsoft SMTP Server (TLS) id 15.1.2507.39; Tue, 1 Sep 2026"
    )
    keyword = line.index("Microsoft"), line.index(" (TLS)")
    for at in range(len(line)):
        read = parse_received(line[:at] + letter + line[at + 1 :])
        assert at not in range(*keyword) or read.protocol is None
    for protocol in ("M\u0130crosoft SMTPSVC", "\u017fhadowRedundancy", "E\u017fMTP", "Internet Ma\u0131l Service"):
        assert parse_received(f"from a by mx1.example with {protocol} id 15.1.2507.39").protocol is None


def test_a_line_that_is_cached_is_counted_once_however_often_it_is_asked_for() -> None:
    cache = HeaderCache(40)
    line = b"from a.example ([192.0.2.1]) by mx1.example ([192.0.2.1]) with mapi id 15.1.2507.39; Tue, 1 Sep 2026"
    text = line[: line.index(b";")]
    top = cache.add(text, b"t", line)
    counted = cache.counted_bytes
    assert top is not None
    assert cache.add(text, b"t", line) is top
    assert cache.counted_bytes == counted > 0


def test_a_line_does_not_pass_for_the_beginning_of_another_that_reads_otherwise() -> None:
    """The text in front of one line's date can be the whole of another line, which reads otherwise."""
    for whole in (
        "from a; from b by ex01.example.com with mapi id 15.1.2507.39 (",
        "from a by ex01.example.com with mapi by ex02.example.com with ",
    ):
        dated = f"{whole}; Mon, 1 Dec 2025 10:00:00 +0000"
        for lines in ([whole, dated], [dated, whole]):
            cache = HeaderCache(50)
            assert parse_received(whole) != parse_received(dated)
            for line in lines:
                seen = detect([line], "helo", "192.0.2.1")
                assert found_in(cache, [line]) in (None, (seen.server, seen.build))


@pytest.mark.parametrize(
    ("top", "below", "build"),
    [
        ("15.1.2507.39", "15.1.2507.391", "15.1.2507.391"),
        ("15.1.2507.39", "15.1.2507.39.1", "15.1.2507.39"),
        ("15.1.2507.39", "15.1.2507.61", "15.1.2507.61"),
        ("15.01.2507.039", "15.1.2507.61", "15.1.2507.61"),
        ("15.01.2507.039", "15.01.2507.0391", "15.1.2507.391"),
        ("15.1.2507", "15.1.2507.39", "15.1.2507.39"),
        ("15.1.2507.39", "15.1.2507.6", "15.1.2507.39"),
        ("15.1.2507.39", "15.1.2507.39 (x id 15.2.2562.17)", "15.1.2507.39"),
        ("15.1.2507.39", "15.1.2507.39 ID 15.2.2562.17", "15.1.2507.39"),
        ("15.1.2507.39", "15.2.2562.17", "15.1.2507.39"),
        ("15.1.2507.39", "15.1.2508.1", "15.1.2507.39"),
        ("15.1.2507.39", "99.99.9999.9", "15.1.2507.39"),
    ],
)
@pytest.mark.parametrize("host", ["ex01.example.com", "EX01.Example.com"])
def test_a_line_below_raises_the_build_where_it_claims_a_higher_one(
    top: str, below: str, build: str, host: str
) -> None:
    lines = [
        f"from {host} ({host} [192.0.2.1]) by {host} (192.0.2.1) with mapi id {top}; Mon, 1 Dec 2025 10:00:00 +0000",
        f"from a by {host} with mapi id {below}; Mon, 1 Dec 2025 10:00:00 +0000",
    ]
    cache = HeaderCache(50)
    assert detect(lines, "", "192.0.2.1").build == parse_build(build)
    for _ in range(2):
        assert found_in(cache, lines) == ("ex01.example.com", parse_build(build))


TOKENS = st.from_regex(r"[0-9][A-Za-z0-9]{0,20}[A-Za-z]|[A-Za-z][A-Za-z0-9]{0,20}[0-9]", fullmatch=True)
PARTS = st.sampled_from(
    (
        *("from a", "by mx.example.com", "by ex.example.com", "with ESMTPS", "with mapi", "id", "via x", "for <a@b>"),
        *("(Postfix)", "([192.0.2.1])", "(", ")", '"', "\\", "id 15.1.2507.39", "(15.1.2507.39)", "; x", ";", "with"),
    )
)


@settings(max_examples=500, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=9), TOKENS, TOKENS)
def test_a_line_says_the_same_whatever_the_id_of_its_message(parts: list[str], one: str, other: str) -> None:
    text = " ".join([*parts, "id "])
    lines = [f"{text}{token}; Mon, 1 Dec 2025 10:00:00 +0000" for token in (one, other)]
    assert id_at(lines[0].partition("; Mon")[0].encode()) == len(text)
    assert parse_received(lines[0]) == parse_received(lines[1])
    cache = HeaderCache(50)
    for line in lines:
        seen = detect([line], "helo", "192.0.2.1")
        assert found_in(cache, [line]) in (None, (seen.server, seen.build))


def test_a_gateways_lines_are_remembered_without_the_ids_of_their_messages() -> None:
    cache = HeaderCache(50)
    for number in range(20):
        assert found_in(cache, [f"from a by mx.example.com (Postfix) with ESMTPS id 4F{number:04}; date"])
    assert len(cache._gateways) == 1
    for number in range(20_000):
        found_in(cache, [f"from a by mx{number}.example.com (Postfix) with ESMTPS id 4F2A; date"])
    assert len(cache._gateways) <= MAX_GATEWAYS
    assert cache.counted_bytes <= 51 * LINE_BYTES


@pytest.mark.parametrize("token", ["15.1.2507.39", "with", "1234567890", "4F-2A", "", "4F2A)", "4F 2A"])
def test_what_may_be_more_than_an_id_is_no_id(token: str) -> None:
    assert id_at(f"from a by mx.example.com with ESMTPS id {token}".encode()) == -1


def test_long_lines_do_not_fill_the_cache_of_lines() -> None:
    cache = HeaderCache(50)
    for number in range(10):
        host = f"mx.t{number}.example.com"
        assert found_in(cache, [f"from a by {host} (x{'x' * MAX_CACHED_CHARS}) with mapi id 15.1.2507.39; date"])
        assert found_in(cache, [f"from a by {host} with mapi id 15.1.2507.39; date (UTC)"])
        assert found_in(cache, [f"from a by {host} with ESMTPS id {number}; date"])
    assert not cache.lines
