"""Writes a connection of each named tenant: produce_connection.py BOOTSTRAP TENANT..., from the repository's root."""

from __future__ import annotations

import io
import json
import struct
import sys
import time
import uuid
from pathlib import Path

import fastavro
from confluent_kafka import KafkaError, Message, Producer

TOPIC = "transport.connections.v1"


def refuse_failure(error: KafkaError | None, message: Message) -> None:
    """End the program where the broker did not take a record."""
    if error is not None:
        sys.exit(f"{message.topic()}: not written: {error}")


def main(bootstrap: str, *tenants: str) -> None:
    """Write the events, and wait for the broker's answers."""
    newest = json.loads(Path("schemas/registry.json").read_text())[f"{TOPIC}-value"][-1]
    schema = fastavro.parse_schema(newest["schema"])
    # librdkafka's own partitioner is CRC32: a record that it places becomes a dead letter.
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
        }
    )
    for tenant in tenants:
        event = {
            "event_id": str(uuid.uuid4()),  # a repeated event has the same one, and counts once
            "observed_at": time.time_ns() // 1_000_000,
            "tenant_id": tenant,
            "connector_id": f"inbound-{tenant}",
            "connector_type": "ON_PREMISES",
            "source_ip": "192.0.2.1",
            "helo": "mx1.example.com",
            "received": [
                "from client.example.com (10.0.0.5) by mx1.example.com (192.0.2.1) with Microsoft SMTP Server "
                "id 15.1.2507.39; Tue, 1 Sep 2026 00:00:00 +0000",
            ],
            "outcome": "ACCEPTED",
            "recipients": 1,
        }
        value = io.BytesIO(struct.pack(">bI", 0, newest["id"]))
        value.seek(0, io.SEEK_END)
        fastavro.schemaless_writer(value, schema, event)
        producer.produce(TOPIC, value.getvalue(), tenant.encode(), on_delivery=refuse_failure)
    if left := producer.flush(30):
        sys.exit(f"{TOPIC}: {left} records not written after 30 s")
    print(f"{len(tenants)} written")


if __name__ == "__main__":
    main(*sys.argv[1:])
