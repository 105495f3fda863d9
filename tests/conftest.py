"""What every test has: the checkout's own folder for the jars, a broker for the session, and markers by folder."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.settings.worker import Settings

os.environ.setdefault("TES_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".cache"))

TESTS = Path(__file__).parent
NEED_A_BROKER = (TESTS / "integration", TESTS / "contract/kafka", TESTS / "chaos/test_verifier.py")
"""Folders and files whose tests are marked `kafka`."""
BROKER_FIXTURES = frozenset(("bootstrap", "secured"))
"""Those that start one; the fixtures that use these count too."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a broker.

    Raises:
        pytest.UsageError: a test elsewhere asks for a broker.
    """
    for item in items:
        if any(item.path.is_relative_to(place) for place in NEED_A_BROKER):
            item.add_marker(pytest.mark.kafka)
        elif isinstance(item, pytest.Function) and BROKER_FIXTURES & set(item.fixturenames):
            raise pytest.UsageError(f"{item.nodeid} needs a broker: put it where `NEED_A_BROKER` says")


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker of this session."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), jars_dir=ensure_jars()) as kafka:
        yield kafka.bootstrap


@pytest.fixture
def settings(bootstrap: str, tmp_path: Path) -> Settings:
    """A corner of the cluster for one test: topics, group and state of its own."""
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
