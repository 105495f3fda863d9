"""What every test has: the checkout's own folder for the embedded Kafka's jars, and a broker for the session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars

os.environ.setdefault("TES_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".cache"))


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), jars_dir=ensure_jars()) as kafka:
        yield kafka.bootstrap
