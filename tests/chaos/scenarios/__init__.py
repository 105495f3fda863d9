"""All scenarios; importing this registers them."""

from tests.chaos.scenarios import broker, changelog, clock, inputs, kills, members, rolling, scaling, schedules, store

__all__ = [
    "broker",
    "changelog",
    "clock",
    "inputs",
    "kills",
    "members",
    "rolling",
    "scaling",
    "schedules",
    "store",
]
