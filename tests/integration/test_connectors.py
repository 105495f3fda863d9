"""Connectors of a fleet: published as one set, listed, and read by an edge as it is published."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka.errors import KafkaError

from streams.edge.connectors.files import parse_connectors
from streams.edge.connectors.running import published_entries
from streams.edge.connectors.topic import connector_topic_of, publish_connectors, read_published_connectors
from streams.kafka.provisioning import create_topics
from streams.settings.worker import Settings

FILE = """
- connector_id: main
  tenant_id: contoso
  type: ON_PREMISES
  match:
    tls_subjects: ["*.contoso.com"]
    cidrs: [192.0.2.0/24]
- connector_id: Inbound from Fabrikam
  tenant_id: fabrikam
  type: PARTNER
  match:
    cidrs: ["2001:db8::/32"]
"""


@pytest.mark.timeout(120)
def test_a_file_is_published_as_the_whole_set(settings: Settings, tes: Any, tmp_path: Path) -> None:
    asyncio.run(create_topics(settings))
    file = tmp_path / "connectors.yaml"
    file.write_text(FILE)
    assert tes("connectors", "publish", str(file), "--by", "me")[:2] == (0, "connectors: 2 published, 0 removed\n")
    code, out, _ = tes("connectors", "list", "--json")
    assert code == 0
    listed = json.loads(out)
    assert [row["connector_id"] for row in listed] == ["main", "Inbound from Fabrikam"]
    assert (listed[0]["published_by"], listed[0]["source"]) == ("me", str(file))
    records = asyncio.run(read_published_connectors(connector_topic_of(settings)))
    published = published_entries([orjson.dumps(record) for record in records])
    assert [entry[:4] for entry in published] == [entry[:4] for entry in parse_connectors(FILE, "file")]
    file.write_text(FILE.replace("main", "other"))
    code, out, err = tes("connectors", "publish", str(file), "--by", "me")
    assert (code, out) == (0, "connectors: 2 published, 1 removed\n")
    assert "contoso/main: is no longer published" in err
    code, out, _ = tes("connectors", "list")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["contoso", "other"], ["fabrikam", "Inbound"]]
    file.write_text("[]")
    assert tes("connectors", "publish", str(file))[:2] == (0, "connectors: 0 published, 2 removed\n")
    assert json.loads(tes("connectors", "list", "--json")[1]) == []


@pytest.mark.timeout(120)
def test_of_two_publishers_at_once_one_publishes_nothing(settings: Settings) -> None:
    asyncio.run(create_topics(settings))
    topic = connector_topic_of(settings)

    async def publish(name: str) -> str | None:
        entries = parse_connectors(FILE.replace("main", name), "file")
        try:
            await publish_connectors(topic, settings.app_id, entries, 1_800_000_000_000, "me", "")
        except KafkaError:
            return None
        return name

    async def run() -> list[str | None]:
        return list(await asyncio.gather(publish("one"), publish("two")))

    done = [name for name in asyncio.run(run()) if name is not None]
    left = {record["connector_id"] for record in asyncio.run(read_published_connectors(topic))}
    assert done
    assert left == {done[-1], "Inbound from Fabrikam"} or left == {done[0], "Inbound from Fabrikam"}
