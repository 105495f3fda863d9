"""What a race must end with: the fold of the product's rules, and the outcome of the comparable job.

The first is `streams.service.simulation`, over the same connections. The second comes from the builds that the feed
says it shows, so no engine's reading of the lines is trusted.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field
from typing import Any

import orjson

from benchmarks.feed import Feed, connections
from benchmarks.peers.job import FLOOR, key_of
from streams.domain.policy.rulebook import Rulebook
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.settings.worker import DEFAULT_POLICY
from streams.wire.records import connection_of, to_record


def digest(record: Any) -> bytes:
    """A short name for the content of an Avro-shaped record."""
    return hashlib.blake2b(orjson.dumps(record, bytes.hex, orjson.OPT_SORT_KEYS), digest_size=16).digest()


@dataclass
class ProductOutcome:
    """Digests of what the worker must have written: by id, by `tenant/server`, and the states by the same."""

    verdicts: dict[str, bytes] = field(default_factory=dict)
    notifications: dict[str, bytes] = field(default_factory=dict)
    servers: dict[str, bytes] = field(default_factory=dict)
    states: dict[str, bytes] = field(default_factory=dict)

    def add(self, other: ProductOutcome) -> None:
        """Take in another share."""
        for name in ("verdicts", "notifications", "servers", "states"):
            getattr(self, name).update(getattr(other, name))


@dataclass
class PeerOutcome:
    """Per server: connections, build and whether it is below the floor; and its verdicts in order."""

    states: dict[str, tuple[int, str, bool]] = field(default_factory=dict)
    verdicts: dict[str, list[tuple[str, bool]]] = field(default_factory=dict)

    @property
    def verdict_count(self) -> int:
        """How many verdicts there are."""
        return sum(map(len, self.verdicts.values()))


def product_outcome(feed: Feed, share: int = 0, shares: int = 1) -> ProductOutcome:
    """Fold the feed through the product's rules; of several shares of the tenants, only one.

    Tenants never influence each other, so the shares can be folded side by side.
    """
    simulation = Simulation(Rulebook((read_policy(DEFAULT_POLICY),), shipped_catalogue()))
    for _, record in connections(feed):
        if zlib.crc32(record["tenant_id"].encode()) % shares == share:
            simulation.feed(connection_of(record))
    return outcome_of(simulation)


def outcome_of(simulation: Simulation) -> ProductOutcome:
    """What a simulation ended with."""
    results, outcome = simulation.results, ProductOutcome()
    outcome.verdicts = {str(row.verdict_id): digest(to_record(row)) for row in results.verdicts}
    outcome.notifications = {str(row.notification_id): digest(to_record(row)) for row in results.notifications}
    outcome.servers = {"/".join(key): digest(to_record(row)) for key, row in results.servers.items()}
    outcome.states = {"/".join(key): digest(to_record(state)) for key, state in simulation.states.items()}
    return outcome


def peer_outcome(feed: Feed) -> PeerOutcome:
    """Fold the feed through the comparable job, by the builds that it says it shows."""
    outcome = PeerOutcome()
    for build, connection in connections(feed):
        key = key_of(connection)
        before = outcome.states.get(key)
        count, text, is_below = before or (0, "", False)
        if build is not None:
            text, is_below = ".".join(map(str, build)), build < FLOOR
        outcome.states[key] = (count + 1, text, is_below)
        if before is None or before[1:] != (text, is_below):
            outcome.verdicts.setdefault(key, []).append((text, is_below))
    return outcome
