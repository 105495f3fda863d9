"""What makes a connection malformed, and how that is said."""

from __future__ import annotations

import re
from typing import Any

import pytest

from streams.domain.server.connection import InboundConnection
from streams.domain.server.sighting import check_sighting, detect_server
from streams.domain.validation import MalformedError
from tests.support.episodes import DETECTED, connection

LONG = "x" * 256


def changed(**fields: Any) -> InboundConnection:
    return connection(DETECTED)._replace(**fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"event_id": ""}, "event_id: '': must be 1 to 255 characters"),
        ({"event_id": LONG}, f"event_id: '{'x' * 80}': must be 1 to 255 characters"),
        ({"source_ip": "nowhere"}, "source_ip: 'nowhere': must be an IPv4 or IPv6 address"),
        ({"source_ip": LONG}, f"source_ip: '{'x' * 80}': must be an IPv4 or IPv6 address"),
        ({"recipients": -1}, "recipients: -1: must not be negative"),
        ({"observed_at": 0}, "observed_at: 0: must be a timestamp from 2000 to 2099, in milliseconds"),
    ],
)
def test_a_malformed_connection_is_refused_by_field_value_and_rule(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(MalformedError, match=f"^{re.escape(said)}$"):
        check_sighting(changed(**fields))


@pytest.mark.parametrize("fields", [{"event_id": "x"}, {"event_id": "x" * 255}, {"recipients": 0}])
def test_what_is_just_within_the_bounds_is_taken(fields: dict[str, Any]) -> None:
    check_sighting(changed(**fields), b"contoso", DETECTED)


@pytest.mark.parametrize("key", [b"fabrikam", b"y" * 100])
def test_a_key_is_the_tenant(key: bytes) -> None:
    said = f"key: {key[:80]!r}: must be the record's tenant_id 'contoso'"
    with pytest.raises(MalformedError, match=f"^{re.escape(said)}$"):
        check_sighting(connection(DETECTED), key)


def test_a_live_connection_is_not_far_ahead_of_the_clock() -> None:
    check_sighting(connection(DETECTED), now_ms=DETECTED - 300_000)
    with pytest.raises(MalformedError, match="ahead of the clock"):
        check_sighting(connection(DETECTED), now_ms=DETECTED - 300_001)


@pytest.mark.parametrize("name", ["connector_id", "helo", "message_id", "tls_subject"])
def test_a_text_of_a_sender_is_kept_whole_up_to_998_characters(name: str) -> None:
    whole = changed(**{name: "h" * 998})
    assert detect_server(whole).connection == whole
    longer = changed(**{name: "h" * 999})
    seen = detect_server(longer).connection
    cut = getattr(seen, name)
    as_sent: dict[str, Any] = {name: "h" * 999}
    assert (len(cut), cut[:900], seen._replace(**as_sent)) == (998, "h" * 900, longer)
