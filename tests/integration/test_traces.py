"""A trace goes from a sender's headers through a worker to the readers of what it wrote."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiokafka import AIOKafkaProducer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streams.domain.policy.rulebook import Rulebook
from streams.engine.partition.view import StateView
from streams.engine.telemetry import UnitReport
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.record import Headers
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.settings.worker import Settings
from streams.telemetry.tracing import Tracing
from streams.testing import FakeRecord, MemoryStore
from streams.wire.codec import AvroCodec
from streams.wire.records import connection_record
from streams.wire.registry import LocalRegistry
from streams.worker.processor import InputProcessor
from tests.support.four_servers import CODEC, HEADER, WIRES, feed
from tests.support.ports import free_port
from tests.support.waiting import until_true
from tests.support.worker_site import a_worker, live_feed

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED: Headers = (("traceparent", f"00-{TRACE}-{PARENT}-01".encode()), ("tracestate", b"edge=7"))


class Followed:
    """A processor whose records are followed, and what becomes of them."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.tracing = Tracing(SimpleSpanProcessor(self.spans), "1", "w-0")
        rulebook = Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue())
        self.rows = [row for row in feed(1, 60, 1000) if row["connector_type"] == "ON_PREMISES"]
        until = self.rows[-1]["observed_at"]
        self.processor = InputProcessor(lambda: rulebook, WIRES, HEADER, until, telemetry=self.tracing)
        self.store = MemoryStore()

    def record(self, row: dict[str, Any], headers: Headers, key: bytes | None = None) -> FakeRecord:
        key = key or row["tenant_id"].encode()
        return FakeRecord(WIRES.connections_topic, 7, 0, key, CODEC.encode(row), headers)

    def unit(self, *records: FakeRecord) -> StateView:
        view = StateView(self.store)
        self.processor.begin(view)
        self.processor.on_tick(view, 0, 100)
        self.processor.on_records(view, records, None)
        self.processor.finish(view)
        self.store.write(view.changes)
        self.tracing.unit_committed(UnitReport(3, len(records), 1, 0.5, 0.25, view.notes))
        return view


def parts(headers: Headers) -> list[str]:
    return dict(headers)["traceparent"].decode().split("-")


def test_a_decided_record_and_its_outputs_are_in_the_senders_trace() -> None:
    followed = Followed()
    first, *rest = followed.rows
    other = next(row for row in rest if row["tenant_id"] != first["tenant_id"])
    view = followed.unit(followed.record(first, SAMPLED), followed.record(other, ()))
    decide, unit = followed.spans.get_finished_spans()
    assert decide.parent is not None
    assert (decide.name, f"{decide.context.trace_id:032x}", f"{decide.parent.span_id:016x}") == (
        *("decide", TRACE),
        PARENT,
    )
    own = [output for output in view.outputs if "traceparent" in dict(output.headers)]
    assert own
    assert len(own) < len(view.outputs)
    for output in own:
        assert parts(output.headers) == ["00", TRACE, f"{decide.context.span_id:016x}", "01"]
        assert dict(output.headers)["tracestate"] == b"edge=7"
    assert unit.name == "unit"
    assert unit.parent is None
    assert unit.context.trace_id != decide.context.trace_id
    assert [link.context.span_id for link in unit.links] == [decide.context.span_id]
    assert unit.attributes is not None
    assert unit.attributes["messaging.destination.partition.id"] == 3
    assert unit.attributes["tes.commit_seconds"] == 0.25
    assert unit.resource.attributes["service.instance.id"] == "w-0"
    assert not any("tenant" in str(value) for span in (decide, unit) for value in (span.attributes or {}).values())


def test_quiet_records_and_those_without_a_sound_context_are_not_followed() -> None:
    followed = Followed()
    for row in followed.rows:
        followed.unit(followed.record(row, ()))
    quiet = followed.rows[-1] | {"event_id": "later", "observed_at": followed.rows[-1]["observed_at"] + 1}
    followed.unit(followed.record(quiet, SAMPLED))
    for bad in (b"", b"00-xyz", f"00-{'0' * 32}-{PARENT}-01".encode(), b"\xff"):
        followed.unit(followed.record(followed.rows[0], (("traceparent", bad),)))
    assert followed.spans.get_finished_spans() == ()


def test_what_the_sender_does_not_record_is_passed_on_and_not_recorded() -> None:
    followed = Followed()
    unsampled = (("traceparent", f"00-{TRACE}-{PARENT}-00".encode()),)
    view = followed.unit(followed.record(followed.rows[0], unsampled))
    assert {(*parts(output.headers)[:2], parts(output.headers)[3]) for output in view.outputs} == {("00", TRACE, "00")}
    assert followed.spans.get_finished_spans() == ()


def test_a_dead_letter_keeps_its_headers_and_its_span_says_that_it_failed() -> None:
    followed = Followed()
    view = followed.unit(followed.record(followed.rows[0], SAMPLED, b"another"), followed.record(followed.rows[1], ()))
    letter = view.outputs[0]
    assert letter.topic.endswith(".dlq")
    assert [item for item in letter.headers if item[0] in dict(SAMPLED)] == list(SAMPLED)
    assert all("traceparent" not in dict(output.headers) for output in view.outputs[1:])
    decide, _ = followed.spans.get_finished_spans()
    assert (decide.status.is_ok, decide.status.description) == (False, "MalformedError")


@pytest.mark.timeout(120)
def test_a_worker_sends_its_traces_to_a_collector(settings: Settings) -> None:
    received: list[Any] = []
    codec = AvroCodec("inbound_connection", LocalRegistry())

    async def take(request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        received.extend(
            span for resource in sent.resource_spans for scope in resource.scope_spans for span in scope.spans
        )
        return web.Response(content_type="application/x-protobuf")

    async def scenario() -> list[Headers]:
        collector = web.Application()
        collector.router.add_post("/v1/traces", take)
        runner, port = web.AppRunner(collector), free_port()
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await create_topics(settings)
        line = next(line for line in live_feed(20) if json.loads(line)["connector_type"] == "ON_PREMISES")
        record = connection_record(line)
        async with AIOKafkaProducer(bootstrap_servers=settings.bootstrap) as producer:
            topic, key = settings.topic(TOPICS["inbound_connection"]), record["tenant_id"].encode()
            await producer.send_and_wait(topic, codec.encode(record), key=key, headers=list(SAMPLED))
        traced = replace(settings, traces_endpoint=f"http://127.0.0.1:{port}/v1/traces")
        async with a_worker(traced):

            async def is_sent() -> bool:
                return len(received) >= 2

            await until_true(is_sent)
        await runner.cleanup()
        reports = read_settled(cluster_of(settings), settings.topic(TOPICS["server_report"]))
        return [row.headers async for row in reports]

    headers = asyncio.run(scenario())
    decide = next(span for span in received if span.name == "decide")
    unit = next(span for span in received if span.name == "unit")
    assert (decide.trace_id.hex(), decide.parent_span_id.hex()) == (TRACE, PARENT)
    assert [link.span_id for link in unit.links] == [decide.span_id]
    assert decide.end_time_unix_nano >= decide.start_time_unix_nano
    assert headers
    assert all(parts(found)[1:3] == [TRACE, decide.span_id.hex()] for found in headers)
