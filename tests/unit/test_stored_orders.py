"""Orders that stored bytes depend on are written down, complete, and those that a connection's value has."""

from __future__ import annotations

from dataclasses import fields

from streams.domain.exchange.evidence import Evidence
from streams.domain.policy.judgement import Finding
from streams.domain.policy.policy import CONNECTORS, ConnectorType
from streams.domain.server.connection import Outcome
from streams.domain.server.state import ServerEnforcement
from streams.state.orders import CONNECTOR_TYPES, DETAIL_FIELDS, EVIDENCE_FIELDS, FINDING_NUMBERS, FINDINGS
from streams.wire.fast_headers import OUTCOMES
from streams.wire.schemas import load_schema


def symbols_of(field: str) -> list[str]:
    """The symbols of a field of a connection, an enum or one that may be null, in the order of the schema."""
    (kind,) = (item["type"] for item in load_schema("inbound_connection")["fields"] if item["name"] == field)
    enum = kind[1] if isinstance(kind, list) else kind
    return list(enum["symbols"])


def test_every_name_has_one_number() -> None:
    assert sorted(FINDINGS) == sorted(Finding)
    assert [FINDING_NUMBERS[finding] for finding in FINDINGS] == list(range(len(Finding)))
    assert sorted(CONNECTOR_TYPES) == sorted(ConnectorType)


def test_findings_have_the_numbers_of_stored_rows() -> None:
    named = ["COMPLIANT", "OUT_OF_DATE", "UNSUPPORTED", "UNDETERMINED", "NOT_EXCHANGE", "OUT_OF_SCOPE"]
    assert [finding.value for finding in FINDINGS] == named


def test_a_connector_type_has_the_same_number_in_a_row_and_in_a_connections_value() -> None:
    assert list(CONNECTOR_TYPES) == list(CONNECTORS)
    assert [kind.value for kind in CONNECTOR_TYPES] == symbols_of("connector_type")


def test_an_outcome_is_counted_by_the_number_that_it_has_in_a_connections_value() -> None:
    assert OUTCOMES == (Outcome.ACCEPTED, Outcome.DEFERRED, Outcome.REJECTED)
    assert [outcome.value for outcome in OUTCOMES] == symbols_of("outcome")[: len(OUTCOMES)]


def test_every_field_of_evidence_has_its_place() -> None:
    assert sorted(EVIDENCE_FIELDS) == sorted(Evidence._fields)
    named = ["received", "position", "protocol", "event_id", "message_id", "connector_id", "source_ip", "observed_at"]
    assert list(EVIDENCE_FIELDS) == named


def test_a_field_that_is_stored_as_it_is_has_one_place() -> None:
    assert len(set(DETAIL_FIELDS)) == len(DETAIL_FIELDS)
    assert set(DETAIL_FIELDS) <= {item.name for item in fields(ServerEnforcement)}
