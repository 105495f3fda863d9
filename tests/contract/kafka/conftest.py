"""A broker with the transactions of older clusters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.dev.embedded_kafka import ensure_jars
from tests.support.old_kafka import OldKafka


@pytest.fixture(scope="session")
def old_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address, for the session."""
    with OldKafka(tmp_path_factory.mktemp("old-kafka"), jars_dir=ensure_jars()) as kafka:
        yield kafka.bootstrap
