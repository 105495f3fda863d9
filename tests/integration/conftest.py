"""A real Kafka for the session, and a cluster corner of its own for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.dev.security import BrokerSecurity
from streams.settings.worker import Settings
from tests.certificates import Authority
from tests.integration.secured import USERS, Secured


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), jars_dir=ensure_jars()) as kafka:
        yield kafka.bootstrap


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The broker, for the session."""
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder)
    certificate, _ = authority.certificate("broker")
    security = BrokerSecurity(certificate, authority.file, USERS)
    with EmbeddedKafka(folder / "kafka", jars_dir=ensure_jars(), security=security) as kafka:
        yield Secured(kafka, authority, folder)


@pytest.fixture
def settings(bootstrap: str, tmp_path: Path) -> Settings:
    name = uuid.uuid4().hex[:8]
    return Settings(
        bootstrap=bootstrap,
        app_id=f"tes-{name}",
        topic_prefix=f"{name}.",
        partitions=3,
        state_dir=str(tmp_path / "state"),
        session_timeout_seconds=6.0,
        batch_records=50,
        gather_seconds=0.05,
    )
