"""What others are promised: schemas, topics, settings and the events of the log."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import Any

from streams.dev.schema_check import SCHEMA_PATH
from streams.kafka.provisioning import topics_of
from streams.kafka.topics import TOPICS
from streams.log_events import EVENTS
from streams.settings.base import CheckedSettings
from streams.settings.edge import EdgeSettings
from streams.settings.notify import NotifySettings
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings

Golden = dict[str, Any]


def schemas() -> Golden:
    """The checksum of each schema, in the tree and in each registered version; docs and layout make no difference."""
    registry = json.loads((SCHEMA_PATH / "registry.json").read_text(encoding="utf-8"))
    return {
        "files": {path.name: checksum(json.loads(path.read_bytes())) for path in sorted(SCHEMA_PATH.glob("*.avsc"))},
        "registry": {
            subject: [{**row, "schema": checksum(row["schema"])} for row in rows] for subject, rows in registry.items()
        },
        "topic_of": dict(TOPICS),
    }


def checksum(schema: Any) -> str:
    """SHA-256 of a schema without its docs."""
    return hashlib.sha256(json.dumps(_without_docs(schema), sort_keys=True).encode()).hexdigest()


def _without_docs(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {name: _without_docs(part) for name, part in schema.items() if name != "doc" or "type" not in schema}
    return [_without_docs(part) for part in schema] if isinstance(schema, list) else schema


def topics() -> Golden:
    """Every topic with its partitions, replicas and configuration, as the defaults and as other settings have them."""
    other = Settings(app_id="APP", topic_prefix="PREFIX.", partitions=7, replication=3)
    return {
        name: {
            topic.name: {
                "partitions": topic.num_partitions,
                "replication": topic.replication_factor,
                "configs": topic.topic_configs,
            }
            for topic in topics_of(settings)
        }
        for name, settings in (("defaults", Settings()), ("others", other))
    }


def settings() -> Golden:
    """Every variable of a worker with its type, its default and whether it is a secret."""
    return _variables_of(Settings)


def edge_settings() -> Golden:
    """Every variable of an edge, likewise."""
    return _variables_of(EdgeSettings)


def report_settings() -> Golden:
    """Every variable of the report, likewise."""
    return _variables_of(ReportSettings)


def notify_settings() -> Golden:
    """Every variable of notify, likewise."""
    return _variables_of(NotifySettings)


def _variables_of(kind: type[CheckedSettings]) -> Golden:
    return {
        item.metadata["variable"]: {
            "type": type(item.default).__name__,
            "default": item.default,
            "is_secret": item.metadata["is_secret"],
        }
        for item in fields(kind)
    }


def events() -> Golden:
    """Every name that a line of the log may have, and what it means."""
    return dict(EVENTS)
