"""What the worker's cache of topmost lines finds in lines."""

from __future__ import annotations

from collections.abc import Sequence

from streams.domain.exchange.build import Build
from streams.domain.exchange.detection import HostRun
from streams.wire.codec import AvroCodec
from streams.wire.fast_connection import decode_fast
from streams.wire.fast_headers import fast_headers
from streams.wire.registry import LocalRegistry
from streams.worker.header_cache import HeaderCache

_CODEC, _HEADER = AvroCodec("inbound_connection", LocalRegistry()), fast_headers(LocalRegistry())


def found_in(cache: HeaderCache | None = None, lines: Sequence[str] = ()) -> tuple[str, Build | None] | None:
    """The server and its build, None for a gateway's; None where the long way is needed."""
    run = run_in(cache, lines)
    return None if run is None else (run.host.decode(), run.build)


def run_in(cache: HeaderCache | None = None, lines: Sequence[str] = ()) -> HostRun | None:
    """What the connection gets to know of its lines; None where the long way is needed."""
    record = {
        "observed_at": 1_790_000_000_000,
        "connector_type": "NONE",
        "tenant_id": "contoso",
        "received": lines,
        "event_id": "e",
        "connector_id": "c",
        "source_ip": "192.0.2.1",
        "helo": "",
        "tls_subject": None,
        "message_id": None,
        "outcome": None,
        "recipients": 1,
        "refused_before": 0,
    }
    value = _CODEC.encode(record)
    projected = decode_fast(value, _HEADER)
    if projected is None:
        return None
    seen = (cache or HeaderCache(50)).find(value, projected)
    assert projected.run is seen
    assert seen is None or seen.key == b"s/contoso/" + seen.host
    return seen
