"""What is fuzzed: each target takes any bytes and raises where one of its promises does not hold.

A target decodes its bytes as the product does, so that one corpus serves Hypothesis, libFuzzer and the replay alike.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz.targets import (
    avro,
    commands,
    connections,
    headers,
    http_requests,
    milter,
    policies,
    received_text,
    rows,
    states,
)

TARGETS: dict[str, Callable[[bytes], None]] = {
    "avro": avro.check,
    "commands": commands.check,
    "connections": connections.check,
    "headers": headers.check,
    "http": http_requests.check,
    "milter": milter.check,
    "policies": policies.check,
    "received_text": received_text.check,
    "rows": rows.check,
    "states": states.check,
}
