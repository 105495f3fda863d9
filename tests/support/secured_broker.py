"""A real Kafka with TLS, users and access control, and the ways into it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest

from streams.dev.embedded_kafka import EmbeddedKafka
from streams.kafka.cluster import Admin
from streams.kafka.security import cluster_of
from streams.kafka.topics import DEAD_LETTER_LOG, TOPICS
from streams.operations.repartition.run import ledger_of
from streams.settings.worker import Settings
from tests.support.access_page import Right
from tests.support.certificates import Authority

USERS = {
    who: f"{who}-has-this-s3cret" for who in ("worker", "bridge", "edge", "report", "notify", "operator", "somebody")
}
KINDS = {"topic": 2, "group": 3, "cluster": 4, "transactional id": 5}
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Describe": 8}
ANY, LITERAL, PREFIXED, ALLOW = 1, 3, 4, 3


@dataclass(frozen=True)
class Secured:
    """The broker with its authority; `settings` come in over the open listener and may do everything."""

    kafka: EmbeddedKafka
    authority: Authority
    folder: Path

    def scram(self, settings: Settings, who: str, **changed: Any) -> Settings:
        """The settings of a user with a password, over TLS."""
        file = self.folder / f"{who}.password"
        file.write_text(USERS[who] + "\n")
        way = {
            "bootstrap": self.kafka.bootstrap_of("SASL_SSL"),
            "kafka_protocol": "SASL_SSL",
            "kafka_ca_file": str(self.authority.file),
            "kafka_mechanism": "SCRAM-SHA-512",
            "kafka_user": who,
            "kafka_password_file": str(file),
        }
        return replace(settings, **(way | changed))

    def oauth(self, settings: Settings, **token: Any) -> Settings:
        """The settings of a bearer of tokens, over TLS."""
        return replace(
            settings,
            bootstrap=self.kafka.bootstrap_of("SASL_SSL"),
            kafka_protocol="SASL_SSL",
            kafka_ca_file=str(self.authority.file),
            kafka_mechanism="OAUTHBEARER",
            **token,
        )


def names_of(settings: Settings, target: Settings | None = None) -> dict[str, str]:
    """What the names on the page are with these settings; a prefix goes without its `*`.

    `target` has what the page calls `g2.` and `tes-g2`.
    """
    names = {topic: settings.topic(topic) for topic in (*TOPICS.values(), DEAD_LETTER_LOG)}
    names |= {f"{topic}.dlq": f"{name}.dlq" for topic, name in names.items()}
    names |= {"tes-state-changelog": settings.changelog, "tes": settings.app_id}
    source = settings.topic(TOPICS["inbound_connection"])
    names |= {f"tes-{TOPICS['inbound_connection']}-*": f"{settings.app_id}-{source}-"}
    jobs = ("policy-publisher", "catalogue-publisher", "connectors-publisher", "dead-letters")
    names |= {f"tes-{job}": f"{settings.app_id}-{job}" for job in jobs}
    if target is not None:
        source = target.topic(TOPICS["inbound_connection"])
        names |= {"g2.*": target.topic_prefix, "tes-g2": target.app_id, "g2.tes-g2-repartition": ledger_of(target)}
        names |= {f"tes-g2-g2.{TOPICS['inbound_connection']}-*": f"{target.app_id}-{source}-"}
    return names | {"kafka-cluster": "kafka-cluster"}


async def allow(
    settings: Settings, given: Iterable[Right], principal: str = "User:{}", target: Settings | None = None
) -> None:
    """Give rights, with the names that the settings make of those on the page."""
    admin = cluster_of(settings).admin()
    await admin.start()
    try:
        created = {_row(names_of(settings, target), right, principal) for right in given}
        for row in created:
            answer = await admin._send_request(CreateAclsRequest(*row))
            assert [code for code, *_ in answer.creation_responses if code] == []
        # The controller has them before the broker does.
        while not created <= await _rights_in_force(admin):
            await asyncio.sleep(0.02)
    finally:
        await admin.close()


async def forbid_all(settings: Settings, principal: str) -> None:
    """Take all rights away from a user."""
    admin = cluster_of(settings).admin()
    await admin.start()
    try:
        await admin._send_request(DeleteAclsRequest(ANY, None, ANY, principal, None, ANY, ANY))
        while any(principal in row for row in await _rights_in_force(admin)):
            await asyncio.sleep(0.02)
    finally:
        await admin.close()


def _row(names: Mapping[str, str], right: Right, principal: str) -> tuple[Any, ...]:
    pattern = PREFIXED if right.name.endswith("*") else LITERAL
    place = (KINDS[right.kind], names[right.name], pattern, principal.format(right.who))
    return (*place, "*", OPERATIONS[right.operation], ALLOW)


async def _rights_in_force(admin: Admin) -> set[tuple[Any, ...]]:
    answer = await admin._send_request(DescribeAclsRequest(ANY, None, ANY, None, None, ANY, ANY))
    return {(*place, *row) for *place, rows in answer.resources for row in rows}
