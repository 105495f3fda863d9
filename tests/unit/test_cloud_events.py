"""Verdicts and notifications are CloudEvents in binary mode, as the reference library reads them from Kafka."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event

from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.decide import Forgotten
from streams.domain.time import DAY_MS
from streams.engine.partition.view import StateView
from streams.engine.ports import Output
from streams.kafka.record import Headers
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Results, Simulation
from streams.settings.worker import Settings
from streams.testing import FakeRecord, MemoryStore
from streams.wire.codec import AvroCodec
from streams.wire.records import connection_of
from streams.wire.registry import LocalRegistry
from streams.worker.channels import encode_output, encode_what_fits
from streams.worker.processor import InputProcessor
from streams.worker.wiring import record_channels
from tests.support.four_servers import CODEC, HEADER, WIRES, feed

CHANNELS = record_channels(Settings())
TRACE: Headers = (
    ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("tracestate", b"edge=7"),
)
KINDS = {WIRES.verdicts_topic: "verdict", WIRES.notifications_topic: "notification"}
NAMES = ["ce_specversion", "ce_type", "ce_source", "content-type", "ce_id", "ce_time"]


def outputs(headers: Headers = ()) -> list[Output]:
    """What a worker writes about the feed of four servers."""
    rulebook = Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue())
    rows = feed(1, 60, 1000)
    processor = InputProcessor(lambda: rulebook, WIRES, HEADER, rows[-1]["observed_at"])
    view = StateView(MemoryStore())
    processor.begin(view)
    for offset, row in enumerate(rows):
        record = FakeRecord(WIRES.connections_topic, offset, 0, row["tenant_id"].encode(), CODEC.encode(row), headers)
        processor.on_records(view, [record], None)
    processor.on_tick(view, 0, 100)
    processor.finish(view)
    return view.outputs


@pytest.fixture(scope="module")
def written() -> list[Output]:
    return outputs()


def decoded(output: Output) -> dict[str, Any]:
    schema = {"verdict": "verdict", "notification": "admin_notification"}[KINDS[output.topic]]
    return AvroCodec(schema, LocalRegistry()).decode(output.value)


def test_a_worker_writes_events_that_the_reference_library_reads(written: list[Output]) -> None:
    found = set()
    for output in written:
        if output.topic not in KINDS or output.value is None:
            continue
        kind, record = KINDS[output.topic], decoded(output)
        event = from_binary_event(KafkaMessage(dict(output.headers), output.key, output.value))
        assert event.get_specversion() == "1.0"
        assert event.get_type() == f"tes.{kind}.v1"
        assert event.get_source() == "urn:tes:worker"
        assert event.get_id() == record[f"{kind}_id"]
        assert event.get_datacontenttype() == "application/avro"
        assert event.get_data() == output.value
        moment = event.get_time()
        assert isinstance(moment, datetime)
        assert round(moment.timestamp() * 1000) == record["issued_at" if kind == "verdict" else "occurred_at"]
        assert [name for name, _ in output.headers] == NAMES
        found.add(kind)
    assert found == {"verdict", "notification"}


def test_an_id_stands_for_one_record(written: list[Output]) -> None:
    ids = [dict(output.headers)["ce_id"] for output in written if "ce_id" in dict(output.headers)]
    assert len(ids) == len(set(ids)) >= 10


def test_nothing_else_is_an_event(written: list[Output]) -> None:
    others = [output for output in written if output.topic not in KINDS]
    assert {output.topic for output in others} == {WIRES.servers_topic}
    assert all(output.headers == () for output in others)


def test_what_is_written_again_has_the_same_bytes(written: list[Output]) -> None:
    assert outputs() == written


@pytest.fixture(scope="module")
def results() -> Results:
    """What is said of four servers in their first hundred days."""
    simulation = Simulation(Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue()))
    rows = feed(1, 60, 1000)
    for row in rows:
        simulation.feed(connection_of(row))
    simulation.advance(rows[-1]["observed_at"] + 100 * DAY_MS)
    return simulation.results


@pytest.mark.parametrize("name", ["verdicts", "notifications"])
def test_the_headers_of_a_trace_stay_behind_those_of_the_event(name: str, results: Results) -> None:
    emitted = getattr(results, name)[-1]
    (output,) = encode_output(CHANNELS, emitted, TRACE)
    assert [name for name, _ in output.headers] == [*NAMES, "traceparent", "tracestate"]
    assert output.headers[len(NAMES) :] == TRACE
    assert encode_what_fits(CHANNELS, emitted, TRACE) == ([output], True)


def test_a_tombstone_is_no_event(results: Results) -> None:
    gone = encode_output(CHANNELS, Forgotten(results.verdicts[-1].key, 7), TRACE)
    assert [(output.value, output.headers) for output in gone] == [(None, TRACE), (None, TRACE)]
