"""The reference of the topics is what the code has: the page, the AsyncAPI document, and the records that they show."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
import yaml

from streams.domain.server.sighting import check_sighting
from streams.domain.tenant.commands import check_command
from streams.edge.connectors.entries import EntryReader
from streams.edge.connectors.running import content_of
from streams.kafka.partitioner import kafka_partition
from streams.kafka.provisioning import topics_of
from streams.kafka.topics import DEAD_LETTER_SUFFIX
from streams.policies.catalogue.files import shipped_catalogue
from streams.reference.asyncapi import document
from streams.reference.page import PAGE, page
from streams.reference.samples import schema_id
from streams.reference.topics import Placing, Topic, topics
from streams.settings.worker import Settings
from streams.wire.audit import audit_of_record
from streams.wire.catalogue import published_catalogue_of
from streams.wire.edge_verdict import edge_verdict_of_record
from streams.wire.policy import policy_of
from streams.wire.progress import progress_of
from streams.wire.records import command_of, connection_of
from streams.wire.registry import LocalRegistry
from streams.wire.schemas import load_schema, without_docs
from streams.wire.server_report import report_of_record
from tests.golden import REPOSITORY

FOLDER = REPOSITORY / "tests" / "data" / "asyncapi"
NAMES = [topic.name for topic in topics_of(Settings())]
BY_NAME = {topic.name: topic for topic in topics()}
WITH_SCHEMAS = [topic for topic in topics() if topic.schema and not topic.name.endswith(DEAD_LETTER_SUFFIX)]


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema_rs.Draft7Validator(json.loads((FOLDER / "asyncapi-3.0.0.json").read_text(encoding="utf-8")))


def test_the_page_is_made_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run: python -m streams.reference.page"


def test_a_page_without_its_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="the page has the parts none: must be table, topics"):
        page("# Topics\n")


def test_the_document_is_made_of_the_code() -> None:
    committed = (REPOSITORY / "docs/reference/asyncapi.yaml").read_text(encoding="utf-8")
    assert document() == committed, "run: python -m streams.reference.asyncapi > docs/reference/asyncapi.yaml"


def test_the_document_is_valid_asyncapi(validator: Any) -> None:
    assert [str(error) for error in validator.iter_errors(yaml.safe_load(document()))] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("asyncapi",), "2.6.0"),
        (("channels", "verdict", "bindings", "kafka", "partitions"), "four"),
        (("operations", "send_verdict", "action"), "publish"),
        (("components", "messages", "verdict", "payload", "schema", "fields"), "none"),
        (("components", "messages", "verdict", "examples"), {"payload": {}}),
    ],
)
def test_a_wrong_document_is_not(validator: Any, path: tuple[str, ...], value: Any) -> None:
    wrong = copy.deepcopy(yaml.safe_load(document()))
    place = wrong
    for name in path[:-1]:
        place = place[name]
    assert path[-1] in place
    place[path[-1]] = value
    assert not validator.is_valid(wrong)


def test_the_schema_of_asyncapi_is_as_it_came() -> None:
    digest = hashlib.sha256((FOLDER / "asyncapi-3.0.0.json").read_bytes()).hexdigest()
    assert digest in (FOLDER / "PROVENANCE.md").read_text(encoding="utf-8")


def test_every_topic_with_a_schema_is_a_channel_with_that_schema() -> None:
    content = yaml.safe_load(document())
    assert {channel["address"] for channel in content["channels"].values()} == {one.name for one in WITH_SCHEMAS}
    for topic in WITH_SCHEMAS:
        assert topic.schema is not None
        assert content["components"]["messages"][topic.schema]["payload"]["schema"] == load_schema(topic.schema)


@pytest.mark.parametrize("name", NAMES)
def test_every_topic_is_described_with_a_record(name: str) -> None:
    topic = BY_NAME[name]
    assert topic.says
    assert topic.sample.key
    assert topic.sample.value or name == Settings().changelog


def of_connection(topic: Topic) -> None:
    check_sighting(connection_of(topic.sample.record), topic.sample.key)


def of_command(topic: Topic) -> None:
    check_command(command_of(topic.sample.record), topic.sample.key)


def of_verdict(topic: Topic) -> None:
    assert topic.sample.key is not None
    assert edge_verdict_of_record(topic.sample.record, topic.sample.key).key.topic_key() == topic.sample.key


def of_connector(topic: Topic) -> None:
    entry = EntryReader(topic.name).entry(content_of(topic.sample.record), 0)
    assert entry is not None
    assert entry.name.encode() == topic.sample.key


READERS: dict[str, Callable[[Topic], Any]] = {
    "inbound_connection": of_connection,
    "admin_command": of_command,
    "policy": lambda topic: policy_of(topic.sample.record, shipped_catalogue()),
    "catalogue": lambda topic: published_catalogue_of(topic.sample.record),
    "verdict": of_verdict,
    "server_report": lambda topic: report_of_record(topic.sample.record),
    "audit_record": lambda topic: audit_of_record(topic.sample.record),
    "partition_progress": lambda topic: progress_of(topic.sample.record),
    "connector": of_connector,
}


@pytest.mark.parametrize("topic", WITH_SCHEMAS, ids=lambda topic: topic.schema)
def test_what_reads_a_topic_takes_its_record(topic: Topic) -> None:
    assert topic.schema is not None
    if topic.schema in READERS:
        READERS[topic.schema](topic)
    assert LocalRegistry().schema_of(schema_id(topic.sample)) == without_docs(load_schema(topic.schema))


def test_only_notifications_are_read_by_nothing_here() -> None:
    assert {topic.schema for topic in WITH_SCHEMAS} - set(READERS) == {"admin_notification"}


def test_a_topic_of_one_partition_says_so() -> None:
    assert {topic.name for topic in topics() if topic.partitions == 1} == {
        topic.name for topic in topics() if topic.facts.placing is Placing.SINGLE
    }


def test_the_dead_letter_was_in_a_partition_that_does_not_take_its_key() -> None:
    for name in NAMES:
        if name.endswith(DEAD_LETTER_SUFFIX):
            sample = BY_NAME[name].sample
            assert sample.key is not None
            headers = dict(sample.headers)
            assert int(headers["source.partition"]) != kafka_partition(sample.key, Settings().partitions)
            assert b"MisplacedRecordError" in headers["error"]


@pytest.mark.parametrize(("right", "field"), [("Read", "readers"), ("Write", "writers")])
def test_readers_and_writers_are_those_that_have_the_right(right: str, field: str) -> None:
    text = (REPOSITORY / "docs/reference/access.md").read_text(encoding="utf-8").partition("## Commands")[0]
    rows = re.findall(r"^\| (\w+) \| topic \| `([^`]+)` \| ([\w, ]+) \|$", text, re.MULTILINE)
    services = {service for service, _, _ in rows}
    assert services == {"worker", "bridge", "edge", "report", "notify"}
    for topic in topics():
        having = {service for service, name, rights in rows if name == topic.name and right in rights}
        assert {word for word in re.findall(r"\w+?(?=s?\b)", getattr(topic.facts, field)) if word in services} == having
