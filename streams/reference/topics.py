"""What holds for each topic beside its settings and its schema: key, partition, order, who writes and reads it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

from streams.domain.server.state import RECENT_EVENTS
from streams.domain.tenant.apply import SEEN_COMMANDS
from streams.kafka.provisioning import topics_of
from streams.kafka.topics import DEAD_LETTER_LOG, DEAD_LETTER_SUFFIX, TOPICS
from streams.reference.samples import Sample, samples
from streams.settings.worker import Settings
from streams.wire.schemas import load_schema


class Placing(StrEnum):
    """How a record's partition follows from its key; the value says it to a person."""

    CHECKED = (
        "murmur2 of the key, as Kafka's Java client does by default. Checked: a record elsewhere becomes a dead letter"
    )
    HASHED = "murmur2 of the key, as Kafka's Java client does by default. The product's writers pin it"
    SINGLE = "0; there is one partition"
    OF_INPUT = "that of the input record; a letter without a key is put anywhere"
    OF_STATE = "that of the connections whose state it holds"


class Facts(NamedTuple):
    """Of one topic; each is a phrase or a sentence for the page."""

    key: str
    placing: Placing
    order: str
    duplicates: str
    tombstone: str
    writers: str
    readers: str
    says: str = ""
    """What it holds; where it is empty, the schema says it."""
    sends: bool = True
    """Whether the product writes it; it reads the others only."""


class Topic(NamedTuple):
    """A topic with its settings, its facts and one record of it. `schema` is the name of its Avro schema, or None."""

    name: str
    schema: str | None
    facts: Facts
    partitions: int
    configs: Mapping[str, str]
    sample: Sample

    @property
    def says(self) -> str:
        """What its records are, in one sentence."""
        if self.facts.says or self.schema is None:
            return self.facts.says
        says: str = load_schema(self.schema)["doc"]
        return says

    @property
    def is_compacted(self) -> bool:
        """Whether only the last record of a key is kept."""
        return self.configs.get("cleanup.policy") == "compact"


_NEVER: Final = "none is written"
_OF_TENANT: Final = "all records of a tenant are in the order in which they were written"
_OF_KEY: Final = "records of one key are in the order in which they were written; the last one applies"

FACTS: Final[Mapping[str, Facts]] = {
    "inbound_connection": Facts(
        key="`tenant_id`, UTF-8",
        placing=Placing.CHECKED,
        order=f"{_OF_TENANT}; `observed_at` counts, and a late event counts as late",
        duplicates=f"`event_id`: of a server the last {RECENT_EVENTS} are known, and a repeated one changes nothing",
        tombstone="not allowed: a record without a value becomes a dead letter",
        writers="the bridge from the event bus; edge hosts; `tes dlq redrive`",
        readers="workers",
        sends=False,
    ),
    "admin_command": Facts(
        key="`tenant_id`, UTF-8",
        placing=Placing.CHECKED,
        order=f"{_OF_TENANT}; a command applies from its `issued_at`",
        duplicates=f"`command_id`: of a tenant the last {SEEN_COMMANDS} are known, and a repeated one changes nothing",
        tombstone="not allowed: a record without a value becomes a dead letter",
        writers="front ends; `tes report`; `tes pause`, `tes exception`, `tes override`, `tes dlq redrive`",
        readers="workers",
        sends=False,
    ),
    "policy": Facts(
        key="`policy_id/version`, UTF-8",
        placing=Placing.SINGLE,
        order="publications are in order; `effective_at` says from when each one governs",
        duplicates="the key: a version is published once",
        tombstone=f"{_NEVER}: a version that governed is never taken away",
        writers="`tes policy publish`, `tes policy mode`",
        readers="every worker and `tes report`, completely",
    ),
    "catalogue": Facts(
        key="`version` in decimal digits",
        placing=Placing.SINGLE,
        order="publications are in order; `effective_at` says from when each one is in force",
        duplicates="the key: a version is published once",
        tombstone=f"{_NEVER}: a version that was in force is never taken away",
        writers="`tes catalogue publish`",
        readers="every worker and `tes report`, completely",
    ),
    "verdict": Facts(
        key="`tenant_id/server`, UTF-8; the first `/` ends the tenant",
        placing=Placing.HASHED,
        order=f"{_OF_KEY}; `revision` grows by one with each",
        duplicates="`verdict_id`, and the header `ce_id`: the same verdict written again has the same one",
        tombstone="the server is forgotten: drop its row, and accept its mail",
        writers="workers",
        readers="every edge host, completely; `tes report`",
    ),
    "admin_notification": Facts(
        key="`tenant_id`, UTF-8",
        placing=Placing.HASHED,
        order=_OF_TENANT,
        duplicates="`notification_id`, and the header `ce_id`: one occurrence always has the same one",
        tombstone=_NEVER,
        writers="workers",
        readers="`tes notify`; `tes report`",
    ),
    "server_report": Facts(
        key="`tenant_id/server`, UTF-8; the first `/` ends the tenant",
        placing=Placing.HASHED,
        order=_OF_KEY,
        duplicates="none needed: a record is the whole row, and the last one applies",
        tombstone="the server is forgotten: drop its row",
        writers="workers",
        readers="`tes report`; `tes servers`, `tes whatif`",
    ),
    "audit_record": Facts(
        key="`tenant_id`, UTF-8; `*` for publications of policies and catalogues",
        placing=Placing.HASHED,
        order=_OF_TENANT,
        duplicates="`audit_id`: the same command always has the same one",
        tombstone=_NEVER,
        writers="workers; `tes policy publish`, `tes policy mode`, `tes catalogue publish`",
        readers="`tes report`; the issuer of a command",
    ),
    "partition_progress": Facts(
        key="`partition` of the connections in decimal digits",
        placing=Placing.SINGLE,
        order=_OF_KEY,
        duplicates="none needed: the last sign of a partition applies",
        tombstone=_NEVER,
        writers="workers",
        readers="every edge host, completely",
    ),
    "connector": Facts(
        key="`tenant_id/connector_id`, UTF-8; the first `/` ends the tenant",
        placing=Placing.SINGLE,
        order=f"{_OF_KEY}; a set is published in one transaction",
        duplicates="none needed: a record is the whole connector, and the last one applies",
        tombstone="the connector is gone",
        writers="`tes connectors publish`",
        readers="every edge host and `tes notify`, completely",
    ),
}
"""By schema."""

_LETTERS: Final = Facts(
    says="A record that cannot be processed, with its key, value and headers as they came.",
    key="the input record's",
    placing=Placing.OF_INPUT,
    order="of one input partition, that of the input",
    duplicates="the headers `source.topic`, `source.partition`, `source.offset`: one letter for each input record",
    tombstone="an input record that had no value",
    writers="workers",
    readers="`tes dlq`",
)
_LETTER_LOG: Final = Facts(
    says="What became of a dead letter: one row for each that was re-driven or discarded, as JSON.",
    key="`topic/partition/offset@timestamp` of the letter's input record, UTF-8",
    placing=Placing.HASHED,
    order="a key has one record",
    duplicates="the key",
    tombstone=_NEVER,
    writers="`tes dlq`",
    readers="`tes dlq`",
)
_CHANGELOG: Final = Facts(
    says="The state of the workers, row by row. Private: keys and values change without notice between versions.",
    key="a row's, such as `s/tenant_id/server`",
    placing=Placing.OF_STATE,
    order=_OF_KEY,
    duplicates="none needed: the last record of a row applies",
    tombstone="the row is gone",
    writers="workers",
    readers="workers, when they restore; `tes state`",
)


@lru_cache(1)
def topics() -> tuple[Topic, ...]:
    """Every topic, with the settings and the names that it has by default.

    Raises:
        OSError: this is no checkout of the repository, which has the feed of the samples.
    """
    settings = Settings()
    found, schemas = samples(settings), {settings.topic(topic): name for name, topic in TOPICS.items()}
    facts = {topic: FACTS[name] for topic, name in schemas.items()}
    facts |= {settings.topic(DEAD_LETTER_LOG): _LETTER_LOG, settings.changelog: _CHANGELOG}
    return tuple(
        Topic(
            topic.name,
            schemas.get(topic.name.removesuffix(DEAD_LETTER_SUFFIX)),
            _LETTERS if topic.name.endswith(DEAD_LETTER_SUFFIX) else facts[topic.name],
            *(topic.num_partitions, topic.topic_configs, found[topic.name]),
        )
        for topic in topics_of(settings)
    )
