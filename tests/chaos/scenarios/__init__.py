"""All scenarios; importing this registers them."""

from tests.chaos.scenarios import (
    broker,
    changelog,
    clock,
    edge_files,
    edge_kafka,
    edge_kills,
    edge_worker,
    inputs,
    kills,
    members,
    rolling,
    scaling,
    schedules,
    store,
)

__all__ = [
    "broker",
    "changelog",
    "clock",
    "edge_files",
    "edge_kafka",
    "edge_kills",
    "edge_worker",
    "inputs",
    "kills",
    "members",
    "rolling",
    "scaling",
    "schedules",
    "store",
]
