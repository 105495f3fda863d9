"""The AsyncAPI document of the topics, as it is committed: `python -m streams.reference.asyncapi > FILE`."""

from __future__ import annotations

import sys
from typing import Any, Final

import yaml

from streams.kafka.topics import DEAD_LETTER_SUFFIX
from streams.reference.samples import Sample, shortened
from streams.reference.topics import Topic, topics
from streams.wire.schemas import SUBJECTS, load_schema

ASYNCAPI_VERSION: Final = "3.0.0"
API_VERSION: Final = "1"
"""Of the topics whose names end in `.v1`: what exists in them keeps its meaning."""
_BINDING_VERSION: Final = "0.5.0"
_AVRO: Final = "application/vnd.apache.avro;version=1.9.0"
_NUMBERS: Final = ("retention.ms", "delete.retention.ms", "max.message.bytes")
_LISTS: Final = ("cleanup.policy",)
"""With the numbers the settings that the Kafka binding knows."""
_OF_EACH: Final = {
    "ce_id": "The id of the verdict or the notification.",
    "ce_time": "When the verdict was issued, or what the notification tells of occurred; RFC 3339, UTC.",
}
"""The headers that differ from record to record."""
_ABOUT: Final = (
    "The Kafka topics of transport-based enforcement. Names are those without TES_TOPIC_PREFIX, settings the defaults "
    "of `tes topics create`. A value is Avro after the Confluent header: 0x00, then the schema's id in 4 bytes, "
    "big-endian. A key is plain UTF-8. `send` is what the product writes, `receive` what others write to it."
)


class _Dumper(yaml.SafeDumper):
    """Writes every part out: a document without anchors is easier to read, and no tool trips over one."""

    def ignore_aliases(self, data: Any) -> bool:
        """No part is referred to."""
        return True


def _represent(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """A text of several lines is written as lines."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if text.endswith("\n") else None)


_Dumper.add_representer(str, _represent)


def document() -> str:
    """The document, in YAML, of the topics that others write or read."""
    shown = [topic for topic in topics() if topic.schema is not None and not topic.name.endswith(DEAD_LETTER_SUFFIX)]
    content = {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "Transport-based enforcement: the topics",
            "version": API_VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/avro",
        "channels": {topic.schema: _channel(topic) for topic in shown},
        "operations": {f"{_verb(topic)}_{topic.schema}": _operation(topic) for topic in shown},
        "components": {"messages": {topic.schema: _message(topic) for topic in shown}},
    }
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _channel(topic: Topic) -> dict[str, Any]:
    known: dict[str, Any] = {name: int(value) for name, value in topic.configs.items() if name in _NUMBERS}
    known |= {name: value.split(",") for name, value in topic.configs.items() if name in _LISTS}
    binding: dict[str, Any] = {"topic": topic.name, "partitions": topic.partitions}
    if known:
        binding["topicConfiguration"] = known
    return {
        "address": topic.name,
        "title": topic.name,
        "description": _description(topic),
        "messages": {topic.schema: {"$ref": f"#/components/messages/{topic.schema}"}},
        "bindings": {"kafka": {**binding, "bindingVersion": _BINDING_VERSION}},
    }


def _description(topic: Topic) -> str:
    facts = topic.facts
    lines = {
        "Partition": facts.placing.value,
        "Tombstone": facts.tombstone,
        "Order": facts.order,
        "To tell a repetition": facts.duplicates,
        "Written by": facts.writers,
        "Read by": facts.readers,
    }
    return "".join(f"* {name}: {text}\n" for name, text in lines.items())


def _operation(topic: Topic) -> dict[str, Any]:
    return {
        "action": _verb(topic),
        "channel": {"$ref": f"#/channels/{topic.schema}"},
        "messages": [{"$ref": f"#/channels/{topic.schema}/messages/{topic.schema}"}],
    }


def _verb(topic: Topic) -> str:
    return "send" if topic.facts.sends else "receive"


def _message(topic: Topic) -> dict[str, Any]:
    assert topic.schema is not None
    schema, sample = load_schema(topic.schema), topic.sample
    example: dict[str, Any] = {"name": "sample", "payload": shortened(sample.record)}
    message = {
        "name": schema["name"],
        "title": schema["name"],
        "summary": topic.says,
        "contentType": "application/avro",
        "payload": {"schemaFormat": _AVRO, "schema": schema},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": topic.facts.key, "examples": [(sample.key or b"").decode()]},
                "bindingVersion": _BINDING_VERSION,
            }
        },
        "x-schema-registry-subject": SUBJECTS[topic.schema],
    }
    if sample.headers:
        message["headers"] = _headers(sample)
        example["headers"] = {name: value.decode() for name, value in sample.headers}
    return {**message, "examples": [example]}


def _headers(sample: Sample) -> dict[str, Any]:
    """The schema of a record's headers; none is required, since older records have none."""
    properties = {
        name: {"type": "string", "description": _OF_EACH[name]}
        if name in _OF_EACH
        else {"type": "string", "const": value.decode()}
        for name, value in sample.headers
    }
    return {"type": "object", "properties": properties}


if __name__ == "__main__":
    sys.stdout.write(document())
