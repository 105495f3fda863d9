"""Strimzi's topics are those of the product, and its users may do what the product does with them and no more."""

from __future__ import annotations

from collections.abc import Iterable

from streams.kafka.provisioning import topics_of
from streams.kafka.topics import TOPICS
from streams.report.model.batch import READ as READ_BY_THE_REPORT
from streams.settings.worker import Settings, read_settings
from tests.deploy.manifests import Manifest, environment_of, of_kind, only, rendered
from tests.support.access_page import rights

READ, WRITE = {"Describe", "Read"}, {"Describe", "Write"}
INPUTS = [TOPICS["inbound_connection"], TOPICS["admin_command"]]
OUTPUTS = [
    TOPICS[name] for name in ("verdict", "admin_notification", "server_report", "partition_progress", "audit_record")
]


def settings() -> Settings:
    return read_settings(environment_of(rendered("strimzi")))


def rights_of(user: str) -> dict[tuple[str, str, str], set[str]]:
    spec = of_kind(rendered("strimzi"), "KafkaUser")[user]["spec"]
    assert spec["authentication"] == {"type": "scram-sha-512"}
    assert spec["authorization"]["type"] == "simple"
    return {
        (acl["resource"]["type"], acl["resource"]["name"], acl["resource"]["patternType"]): set(acl["operations"])
        for acl in spec["authorization"]["acls"]
    }


def topics(names: Iterable[str], operations: set[str]) -> dict[tuple[str, str, str], set[str]]:
    return {("topic", name, "literal"): operations for name in names}


def shape(topic: Manifest) -> tuple[int, int, dict[str, str]]:
    spec = topic["spec"]
    return spec["partitions"], spec["replicas"], {key: str(value) for key, value in spec.get("config", {}).items()}


def test_topics_are_those_that_the_command_line_creates() -> None:
    found = {name: shape(topic) for name, topic in of_kind(rendered("strimzi"), "KafkaTopic").items()}
    wanted = {
        topic.name: (topic.num_partitions, topic.replication_factor, dict(topic.topic_configs))
        for topic in topics_of(settings())
    }
    assert found == wanted


def test_everything_belongs_to_the_cluster() -> None:
    manifests = rendered("strimzi")
    cluster = only(manifests, "Kafka")["metadata"]["name"]
    for kind in ("KafkaTopic", "KafkaUser", "KafkaNodePool"):
        for item in of_kind(manifests, kind).values():
            assert item["metadata"]["labels"]["strimzi.io/cluster"] == cluster
            assert item["apiVersion"] == "kafka.strimzi.io/v1"


def test_the_cluster_keeps_acknowledged_writes_and_lets_nobody_in_unnamed() -> None:
    kafka = only(rendered("strimzi"), "Kafka")["spec"]["kafka"]
    assert kafka["config"]["min.insync.replicas"] == 2
    assert kafka["config"]["transaction.state.log.min.isr"] == 2
    assert kafka["config"]["unclean.leader.election.enable"] is False
    assert kafka["config"]["auto.create.topics.enable"] is False
    assert kafka["authorization"] == {"type": "simple"}
    for listener in kafka["listeners"]:
        assert listener["tls"] is True
        assert listener["authentication"]["type"] == "scram-sha-512"


def test_controllers_and_brokers_are_pools_of_three() -> None:
    pools = of_kind(rendered("strimzi"), "KafkaNodePool")
    assert {tuple(pool["spec"]["roles"]) for pool in pools.values()} == {("controller",), ("broker",)}
    for pool in pools.values():
        assert pool["spec"]["replicas"] == 3
        assert pool["spec"]["replicas"] >= settings().replication
        assert not any(volume.get("deleteClaim") for volume in pool["spec"]["storage"]["volumes"])


def test_the_worker_may_do_what_it_does() -> None:
    group, source = settings().app_id, TOPICS["inbound_connection"]
    assert rights_of("tes-worker") == {
        ("group", group, "literal"): {"Read"},
        ("transactionalId", f"{group}-{source}-", "prefix"): WRITE,
        ("topic", settings().changelog, "literal"): READ | WRITE,
        **topics([*INPUTS, TOPICS["policy"], TOPICS["catalogue"]], READ),
        **topics([*OUTPUTS, *(f"{topic}.dlq" for topic in INPUTS)], WRITE),
    }


def test_the_bridge_only_writes_connections() -> None:
    assert rights_of("tes-bridge") == topics([TOPICS["inbound_connection"]], WRITE)


def test_an_edge_reads_what_it_acts_on_and_writes_connections() -> None:
    read = [TOPICS[name] for name in ("verdict", "partition_progress", "connector")]
    assert rights_of("tes-edge") == topics(read, READ) | topics([TOPICS["inbound_connection"]], WRITE)


def test_the_report_reads_what_it_shows_and_gives_commands() -> None:
    read = [TOPICS[name] for name in (*READ_BY_THE_REPORT, "policy", "catalogue")]
    assert rights_of("tes-report") == topics(read, READ) | topics([TOPICS["admin_command"]], WRITE)


def test_what_tells_people_reads_notifications_and_contacts() -> None:
    assert rights_of("tes-notify") == topics([TOPICS["admin_notification"], TOPICS["connector"]], READ)


def test_the_command_line_cannot_write_what_workers_decide() -> None:
    rights = rights_of("tes-operator")
    for name in (*OUTPUTS[:4], settings().changelog, TOPICS["inbound_connection"]):
        assert "Write" not in rights.get(("topic", name, "literal"), set())
    for publisher in ("policy-publisher", "catalogue-publisher", "connectors-publisher"):
        assert rights["transactionalId", f"{settings().app_id}-{publisher}", "literal"] == WRITE


def test_the_page_on_access_says_the_same() -> None:
    said: dict[str, dict[tuple[str, str, str], set[str]]] = {}
    for right in rights():
        place = (right.kind.replace("transactional id", "transactionalId"), right.name.rstrip("*"))
        # Read and Write include Describe, which is written out for all but groups.
        operations = {right.operation} | (set() if right.kind == "group" else {"Describe"})
        pattern = "prefix" if right.name.endswith("*") else "literal"
        said.setdefault(f"tes-{right.who}", {}).setdefault((*place, pattern), set()).update(operations)
    assert said == {user: rights_of(user) for user in of_kind(rendered("strimzi"), "KafkaUser")}


def test_only_who_mends_letters_reads_them_and_who_backs_up() -> None:
    letters = {f"{topic}.dlq" for topic in INPUTS}
    readers = {
        user
        for user in of_kind(rendered("strimzi"), "KafkaUser")
        for (_, name, _), operations in rights_of(user).items()
        if name in letters and "Read" in operations
    }
    assert readers == {"tes-letters", "tes-backup"}
    assert not [
        place for place, operations in rights_of("tes-backup").items() if place[0] == "topic" and operations != READ
    ]


def test_nobody_may_do_everything_or_change_the_cluster() -> None:
    for user in of_kind(rendered("strimzi"), "KafkaUser"):
        for (kind, name, _), operations in rights_of(user).items():
            assert kind != "cluster"
            assert name != "*"
            assert operations <= READ | WRITE


def test_the_worker_reads_its_credentials_where_the_operators_put_them() -> None:
    manifests = rendered("strimzi")
    volumes = only(manifests, "StatefulSet")["spec"]["template"]["spec"]["volumes"]
    (projected,) = [volume["projected"] for volume in volumes if "projected" in volume]
    cluster = only(manifests, "Kafka")["metadata"]["name"]
    assert {source["secret"]["name"] for source in projected["sources"]} == {"tes-worker", f"{cluster}-cluster-ca-cert"}
    found = settings()
    assert found.bootstrap == f"{cluster}-kafka-bootstrap:9093"
    assert (found.has_tls, found.has_password, found.kafka_user) == (True, True, "tes-worker")
    paths = {
        f"/run/secrets/kafka/{item['path']}" for source in projected["sources"] for item in source["secret"]["items"]
    }
    assert paths == {found.kafka_password_file, found.kafka_ca_file}
