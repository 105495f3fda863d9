"""Follows the verdicts as an edge host does: read_verdicts.py BOOTSTRAP, from the repository's root.

A line of stdin asks about a moment: {"key": "tenant/server", "at": "2026-09-01T12:00:00.000Z"}; stdout has the answer.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from decide import decide

TOPIC = "enforcement.verdicts.v1"


def follow(consumer: Consumer, verdicts: dict[str, dict[str, Any]], complete: threading.Event) -> None:
    """Keep the table current: the last record of a key applies, and one without a value takes it away."""
    versions = json.loads(Path("schemas/registry.json").read_text())[f"{TOPIC}-value"]
    written_by = {version["id"]: version["schema"] for version in versions}
    reader = json.loads(Path("schemas/verdict.avsc").read_text())
    # No group: every host needs every partition, from its beginning.
    unread = set(consumer.list_topics(TOPIC, 30).topics[TOPIC].partitions)
    consumer.assign([TopicPartition(TOPIC, partition, OFFSET_BEGINNING) for partition in unread])
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error() is not None:
            if message.error().code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client has no other name
                print(message.error(), file=sys.stderr)
                continue
            unread.discard(message.partition())
            if not unread:
                complete.set()
        elif message.value() is None:
            verdicts.pop(message.key().decode(), None)
        else:
            schema_id = struct.unpack_from(">bI", message.value())[1]
            value = io.BytesIO(message.value()[5:])
            verdicts[message.key().decode()] = fastavro.schemaless_reader(value, written_by[schema_id], reader)


def main(bootstrap: str) -> None:
    """Answer the questions, once the table is complete."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "not-used",  # the client wants one
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    verdicts: dict[str, dict[str, Any]] = {}
    complete = threading.Event()
    threading.Thread(target=follow, args=(consumer, verdicts, complete), daemon=True).start()
    complete.wait()
    for line in sys.stdin:
        asked = json.loads(line)
        verdict = verdicts.get(asked["key"])
        answer: dict[str, Any] = {"verdict_id": None, "action": "ACCEPT", "reply": None}
        if verdict is not None:
            action, text = decide(asked["key"], verdict, datetime.fromisoformat(asked["at"]))
            answer = {"verdict_id": verdict["verdict_id"], "action": action, "reply": text}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
