"""What a repository promises to the enforcer, run on the simulation's dicts and on the rows of a partition."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from streams.domain.keys import ServerKey
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.decide import Forgotten
from streams.domain.server.state import ServerEnforcement
from streams.domain.tenant.state import TenantEnforcement
from streams.domain.time import DAY_MS
from streams.engine.partition.view import StateView
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.effects import Effects, KeptServer, KeptTenant
from streams.service.enforcer import Repository
from streams.service.simulation import Simulation
from streams.settings.worker import Settings
from streams.testing import MemoryStore
from streams.worker.repository import SERVERS_AT_ONCE, PartitionRepository
from streams.worker.wiring import record_channels
from tests.support.episodes import DETECTED, connection, run

MX1, MX2 = ServerKey("contoso", "mx1.example.com"), ServerKey("contoso", "mx2.example.com")


class Place(ABC):
    """A repository, and whoever applies effects to it."""

    repository: Repository

    @abstractmethod
    def apply(self, effects: Effects) -> None:
        """Keep what an event came to."""

    @contextmanager
    def unit(self) -> Iterator[None]:
        """A unit of work, in which everything else is called."""
        yield


class OfSimulation(Place):
    def __init__(self) -> None:
        self.repository = self._simulation = Simulation(
            Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue())
        )

    def apply(self, effects: Effects) -> None:
        self._simulation._apply(effects)


class OfPartition(Place):
    def __init__(self) -> None:
        self.repository = self._rows = PartitionRepository(record_channels(Settings()), 0)
        self._store = MemoryStore()

    def apply(self, effects: Effects) -> None:
        self._rows.commit(self._rows.prepare(effects, DETECTED))

    @contextmanager
    def unit(self) -> Iterator[None]:
        view = StateView(self._store)
        self._rows.begin(view)
        yield
        self._rows.finish()
        self._store.write(view.changes)


@pytest.fixture(params=[OfSimulation, OfPartition], ids=["simulation", "partition"])
def place(request: pytest.FixtureRequest) -> Place:
    made: Place = request.param()
    return made


def state_of(server: str, tenant: str = "contoso") -> ServerEnforcement:
    """The state of a server that has just been detected."""
    return run(connection(DETECTED, host=server, tenant=tenant)).states[ServerKey(tenant, server)]


def kept(*states: ServerEnforcement) -> Effects:
    effects = Effects()
    effects.kept += [KeptServer(state.key, state, DETECTED + DAY_MS) for state in states]
    return effects


def test_what_is_not_there_is_none(place: Place) -> None:
    with place.unit():
        assert place.repository.server(MX1) is None
        assert place.repository.tenant("contoso") is None
        assert place.repository.forgotten_revision(MX1) == 0
        assert list(place.repository.servers_of("contoso")) == []
        assert list(place.repository.put_off_of(MX1)) == []


def test_what_is_kept_is_found_in_the_same_unit_and_in_the_next(place: Place) -> None:
    state = state_of("mx1.example.com")
    with place.unit():
        place.apply(kept(state))
        assert place.repository.server(MX1) == state
    with place.unit():
        assert place.repository.server(MX1) == state
        assert place.repository.server(ServerKey("fabrikam", MX1.server)) is None


def test_the_last_state_of_several_stays(place: Place) -> None:
    first, last = state_of("mx1.example.com"), state_of("mx1.example.com")
    last.connections = 7
    with place.unit():
        place.apply(kept(first, last))
    with place.unit():
        assert place.repository.server(MX1) == last


def test_servers_of_a_tenant_come_in_order_and_no_others(place: Place) -> None:
    names = [f"mx{number:03}.example.com" for number in range(2 * SERVERS_AT_ONCE + 1)]
    states = [state_of(name) for name in reversed(names)]
    # Names of tenants of which one begins as the other does, and one that sorts behind.
    others = [state_of("mx.example.com", tenant) for tenant in ("contos", "contoso2", "contoso0")]
    with place.unit():
        place.apply(kept(*states[::2], *others))
    with place.unit():
        place.apply(kept(*states[1::2]))
    with place.unit():
        assert list(place.repository.servers_of("contoso")) == names


def test_a_forgotten_server_leaves_only_its_revision(place: Place) -> None:
    with place.unit():
        place.apply(kept(state_of("mx1.example.com"), state_of("mx2.example.com")))
    effects = Effects()
    effects.outputs.append(Forgotten(MX1, 12))
    effects.kept.append(KeptServer(MX1, None, None))
    with place.unit():
        place.apply(effects)
    with place.unit():
        assert place.repository.server(MX1) is None
        assert list(place.repository.servers_of("contoso")) == ["mx2.example.com"]
        assert place.repository.forgotten_revision(MX1) == 12
        assert place.repository.forgotten_revision(MX2) == 0


def test_a_tenant_is_kept_apart_from_its_servers(place: Place) -> None:
    tenant = TenantEnforcement("contoso", seen_commands=(1, 2))
    effects = kept(state_of("mx1.example.com"))
    effects.kept.append(KeptTenant(tenant, DETECTED + DAY_MS))
    with place.unit():
        place.apply(effects)
    with place.unit():
        assert place.repository.tenant("contoso") == tenant
        assert place.repository.tenant("fabrikam") is None
        assert list(place.repository.servers_of("contoso")) == ["mx1.example.com"]
