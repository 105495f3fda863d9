"""A real Kafka with TLS, users and access control, and the ways into it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest

from streams.adapters.embedded_kafka import EmbeddedKafka
from streams.adapters.kafka_security import cluster_of
from streams.adapters.schemas import TOPICS
from streams.engine.cluster import Admin
from streams.settings import Settings
from tests.certificates import Authority

ACCESS = Path(__file__).parents[2] / "docs" / "reference" / "access.md"
USERS = {who: f"{who}-has-this-s3cret" for who in ("worker", "bridge", "edge", "operator")}
KINDS = {"topic": 2, "group": 3, "cluster": 4, "transactional id": 5}
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5}
ANY, LITERAL, PREFIXED, ALLOW = 1, 3, 4, 3


@dataclass(frozen=True)
class Right:
    """A row of the page on access, for one operation."""

    who: str
    kind: str
    name: str
    operation: str


def rights() -> list[Right]:
    """What the page on access says."""
    rows = re.findall(r"^\| (\w+) \| ([a-z ]+) \| `([^`]+)` \| ([\w, ]+) \|$", ACCESS.read_text(), re.MULTILINE)
    return [Right(*row, operation) for *row, operations in rows for operation in operations.split(", ")]


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


def names_of(settings: Settings) -> dict[str, str]:
    """What the names on the page are with these settings; a prefix goes without its `*`."""
    names = {topic: settings.topic(topic) for topic in TOPICS.values()}
    names |= {f"{topic}.dlq": f"{name}.dlq" for topic, name in names.items()}
    names |= {"tes-state-changelog": settings.changelog, "tes": settings.app_id}
    source = settings.topic(TOPICS["inbound_connection"])
    names |= {f"tes-{TOPICS['inbound_connection']}-*": f"{settings.app_id}-{source}-"}
    names |= {"tes-policy-publisher": f"{settings.app_id}-policy-publisher"}
    return names | {"kafka-cluster": "kafka-cluster", "edge": f"{settings.app_id}-edge"}


async def allow(settings: Settings, given: Iterable[Right], principal: str = "User:{}") -> None:
    """Give rights, with the names that the settings make of those on the page."""
    names = names_of(settings)
    admin = cluster_of(settings).admin()
    await admin.start()
    try:
        created = set()
        for right in given:
            pattern = PREFIXED if right.name.endswith("*") else LITERAL
            row = (KINDS[right.kind], names[right.name], pattern, principal.format(right.who))
            rest = ("*", OPERATIONS[right.operation], ALLOW)
            answer = await admin._send_request(CreateAclsRequest(*row, *rest))
            assert [code for code, *_ in answer.creation_responses if code] == []
            created.add((*row, *rest))
        # The controller has them before the broker does.
        while not created <= await _rights_in_force(admin):
            await asyncio.sleep(0.02)
    finally:
        await admin.close()


async def _rights_in_force(admin: Admin) -> set[tuple[Any, ...]]:
    answer = await admin._send_request(DescribeAclsRequest(ANY, None, ANY, None, None, ANY, ANY))
    return {(*place, *row) for *place, rows in answer.resources for row in rows}
