"""Traces, by OpenTelemetry: a record that is decided is followed from its sender to the readers of what it causes.

W3C trace context comes in the Kafka headers `traceparent` and `tracestate` of a record and goes into those of its
outputs. A record without it is not followed, and neither is a quiet one, which causes nothing. Whether a trace is
recorded is its sender's decision.
"""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from streams.engine.ports import Record
from streams.engine.telemetry import Telemetry, UnitReport
from streams.kafka.record import Headers

EXPORT_SECONDS = 5.0
"""How long a collector may take; what it does not take is dropped."""
_PROPAGATED = ("traceparent", "tracestate")
_propagator = TraceContextTextMapPropagator()


class RecordTrace:
    """A record's decision; a `Trace` of the engine."""

    def __init__(self, span: Span) -> None:
        self.span = span
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(span))
        self.headers: Headers = tuple((name, value.encode()) for name, value in carrier.items())

    def failed(self, error: Exception) -> None:
        """See `Trace`; the sentence may name what is a tenant's, so only the class goes out."""
        self.span.set_status(StatusCode.ERROR, type(error).__name__)


class Tracing(Telemetry):
    """Spans of records, and of the units that they were committed in."""

    def __init__(self, processor: SpanProcessor, version: str, instance: str) -> None:
        """Hand every span to `processor`; `instance` tells workers apart."""
        about = {"service.name": "tes-worker", "service.version": version, "service.instance.id": instance}
        self._provider = TracerProvider(
            sampler=ParentBased(ALWAYS_ON), resource=Resource(about), shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("streams", version)

    def begin_trace(self, record: Record) -> RecordTrace | None:
        """See `Telemetry`."""
        carrier = {
            name: value.decode("ascii", "replace") for name, value in record.headers if name in _PROPAGATED and value
        }
        if _PROPAGATED[0] not in carrier:
            return None
        context = _propagator.extract(carrier)
        if not trace.get_current_span(context).get_span_context().is_valid:
            return None
        about: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.destination.name": record.topic,
            "messaging.kafka.offset": record.offset,
        }
        return RecordTrace(self._tracer.start_span("decide", context, SpanKind.CONSUMER, about))

    def unit_committed(self, report: UnitReport) -> None:
        """See `Telemetry`; a unit that holds no followed record has no span."""
        spans = [item.span for item in report.notes.traces if isinstance(item, RecordTrace)]
        for span in spans:
            span.end()
        links = [Link(context) for span in spans if (context := span.get_span_context()).trace_flags.sampled]
        if not links:
            return
        about: dict[str, int | float] = {
            "messaging.destination.partition.id": report.partition,
            "messaging.batch.message_count": report.records,
            "tes.decide_seconds": report.decide_seconds,
            "tes.commit_seconds": report.commit_seconds,
        }
        # Not inside any record's trace: a unit belongs to all of them.
        no_parent = trace.set_span_in_context(trace.INVALID_SPAN)
        self._tracer.start_span(
            "unit", no_parent, SpanKind.INTERNAL, about, links=links, start_time=report.began_ns
        ).end()

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def exporting(endpoint: str) -> SpanProcessor:
    """Sends spans to a collector by OTLP over HTTP, from a thread of its own."""
    return BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS))
