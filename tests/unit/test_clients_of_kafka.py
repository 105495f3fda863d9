"""Every Kafka client of the product is made by `Cluster`, which knows how to be let in."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import streams

PACKAGE = Path(streams.__file__).parent
MAKERS = {PACKAGE / "kafka" / "cluster.py", PACKAGE / "kafka" / "patches.py"}
CLIENTS = {"AIOKafkaConsumer", "AIOKafkaProducer", "AIOKafkaAdminClient", "AIOKafkaClient", "create_conn"}
LIBRARIES = {"kafka", "confluent_kafka"}


def clients_in(source: str) -> list[str]:
    """What a module imports to make a client of its own."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            library = node.module.partition(".")[0]
            names = {alias.name for alias in node.names}
            if library in LIBRARIES or (library == "aiokafka" and (names & {*CLIENTS, "*", "conn", "client"})):
                found.append(f"from {node.module} import {', '.join(sorted(names))}")
        elif isinstance(node, ast.Import):
            found += [
                f"import {alias.name}"
                for alias in node.names
                if alias.name.partition(".")[0] in {*LIBRARIES, "aiokafka"}
            ]
    return found


def test_no_client_is_made_past_the_cluster() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if path not in MAKERS]
    assert len(modules) > 50
    assert {path.relative_to(PACKAGE).as_posix(): clients_in(path.read_text()) for path in modules} == {
        path.relative_to(PACKAGE).as_posix(): [] for path in modules
    }


@pytest.mark.parametrize(
    "source",
    [
        "from aiokafka import AIOKafkaConsumer as Reader",
        "from aiokafka.admin import AIOKafkaAdminClient",
        "from aiokafka.client import AIOKafkaClient",
        "from aiokafka.conn import create_conn",
        "from aiokafka import *",
        "from aiokafka import conn",
        "import aiokafka",
        "import aiokafka.admin",
        "from confluent_kafka import Consumer",
        "def f():\n    from aiokafka import AIOKafkaProducer",
    ],
)
def test_a_client_made_past_the_cluster_is_found(source: str) -> None:
    assert clients_in(source)
