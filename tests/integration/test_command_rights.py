"""Every command works with just the rights that the page on access names, and says so where one of them is missing."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import pytest

from streams.cli.main import build_parser, main
from streams.domain.time import DAY_MS
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.backup.create import create_backup
from streams.operations.dead_letters import INPUTS, DeadLetterFilter, DispositionKind, handle, read_letters
from streams.operations.feeds import produce_feed, start_worker
from streams.policies.catalogue.files import write_tables
from streams.policies.files import read_policy
from streams.settings.worker import Settings
from streams.wire.policy import policy_yaml
from tests.support.access_page import Need, Right, needs
from tests.support.catalogues import tables
from tests.support.live import line, now_ms, until_found
from tests.support.secured_broker import Secured, allow, forbid_all, names_of
from tests.support.waiting import until_true

TENANT, SERVER = "tenant-1", "mx1.example.com"
WHOM = ("--tenant", TENANT, "--server", SERVER, "--reason", "moves", "--expires-at", "2090-01-01")
PUBLISHED = "strict-critical"
SHOWN = {
    "transport.connections.v1.dlq": "dlq show commands/0/0",
    "enforcement.commands.v1.dlq": "dlq show connections/0/0",
}
"""What works without the right: one letter is read from its own topic only."""
POISON = b"\x00\x00\x00\x00\x01" + b"\x80" * 40
USER = "User:somebody"


@dataclass
class World:
    """A service that has done a little of everything, and lives until `stop`."""

    secured: Secured
    settings: Settings
    folder: Path
    runner: asyncio.Runner
    worker: asyncio.subprocess.Process | None = None
    versions: int = field(default=1)

    async def begin(self) -> None:
        """Verdicts, rows, notifications, audit records, a policy, dead letters, and one of them handled."""
        await create_topics(self.settings)
        begun = now_ms() - 35 * DAY_MS
        await produce_feed(self.settings, [line(1, begun), line(1, now_ms() - DAY_MS)])
        self.worker = await start_worker(replace(self.settings, tick_seconds=0.2), None)
        await until_found(self.settings, lambda found: bool(found.verdicts))
        await self.poison()
        first = await anext(read_letters(self.settings, DeadLetterFilter()))
        await handle(
            self.settings,
            DeadLetterFilter(places=((first.input, first.partition, first.offset),)),
            DispositionKind.DISCARDED,
            "ops",
        )

    async def poison(self) -> None:
        """Have a letter of each input that nothing was done about."""
        async with cluster_of(self.settings).producer() as producer:
            await producer.send_and_wait(self.settings.topic(TOPICS["inbound_connection"]), POISON, key=TENANT.encode())
            await producer.send_and_wait(self.settings.topic(TOPICS["admin_command"]), POISON, key=TENANT.encode())

        async def are_there() -> bool:
            return {letter.input async for letter in read_letters(self.settings, DeadLetterFilter())} == set(INPUTS)

        await until_true(are_there)

    async def stop(self) -> None:
        """End the worker."""
        if self.worker is not None:
            self.worker.send_signal(signal.SIGTERM)
            assert await self.worker.wait() == 0
            self.worker = None

    def policy(self) -> str:
        """A file with a version that nobody has published."""
        self.versions += 1
        file = self.folder / f"{self.versions}.yaml"
        file.write_text(policy_yaml(replace(read_policy(PUBLISHED), version=self.versions)))
        return str(file)

    def catalogue(self) -> str:
        """A folder with tables that nobody has published, newer than all that were."""
        self.versions += 1
        folder = self.folder / f"tables-{self.versions}"
        write_tables(tables(build=f"15.1.2507.{1000 + self.versions}", fixed_on="2026-11-10"), folder)
        return str(folder)

    def connectors(self) -> str:
        """A file with a connector."""
        file = self.folder / "connectors.yaml"
        match = "{cidrs: [192.0.2.0/24]}"
        file.write_text(f"- {{connector_id: c, tenant_id: {TENANT}, type: PARTNER, match: {match}}}\n")
        return str(file)

    def feed(self) -> str:
        """A file with a connection."""
        file = self.folder / "feed.jsonl"
        file.write_bytes(line(1, now_ms()))
        return str(file)

    @cached_property
    def backup(self) -> str:
        """The folder of a backup."""
        self.runner.run(self.stop())
        self.runner.run(create_backup(self.settings, self.folder / "backup", is_live=False))
        return str(self.folder / "backup")

    def target(self) -> Settings:
        """Names that nobody uses."""
        name = uuid.uuid4().hex[:8]
        return replace(self.settings, app_id=f"tes-{name}", topic_prefix=f"{name}.")

    def runs(self, command: str, target: Settings) -> list[tuple[Settings, tuple[str, ...]]]:
        """What to run for a command of the page: the settings, and the words behind `tes`."""
        here, new = self.settings, str(self.folder / uuid.uuid4().hex)
        at = ("--effective-at", f"209{self.versions % 10}-01-01T00:00:00Z")
        later = ("--effective-at", f"209{self.versions % 10}-02-01T00:00:00Z")
        moved = ("--partitions", "3", "--to-prefix", target.topic_prefix, "--to-app-id", target.app_id)
        words: dict[str, list[tuple[Settings, tuple[str, ...]]]] = {
            "topics create": [(target, ("topics", "create"))],
            "servers list": [(here, ("servers", "list"))],
            "servers show": [(here, ("servers", "show", SERVER, "--tenant", TENANT))],
            "pause": [(here, ("pause", "create", "--tenant", TENANT, "--days", "1"))],
            "exception": [(here, ("exception", "grant", *WHOM, "--owner", "mail"))],
            "override": [(here, ("override", "set", *WHOM, "--build", "15.1.2507.61"))],
            "policy list": [(here, ("policy", "list"))],
            "policy show": [(here, ("policy", "show", f"{PUBLISHED}/1"))],
            "policy diff": [(here, ("policy", "diff", f"{PUBLISHED}/1", f"{PUBLISHED}/1"))],
            "policy publish": [(here, ("policy", "publish", self.policy(), *at))],
            "policy mode": [(here, ("policy", "mode", "report"))],
            "catalogue list": [(here, ("catalogue", "list"))],
            "catalogue show": [(here, ("catalogue", "show"))],
            "catalogue diff": [(here, ("catalogue", "diff", "1", "1"))],
            "catalogue publish": [(here, ("catalogue", "publish", self.catalogue(), *later))],
            "connectors list": [(here, ("connectors", "list"))],
            "connectors publish": [(here, ("connectors", "publish", self.connectors()))],
            "verdicts tail": [(here, ("verdicts", "tail", "--no-follow"))],
            "top": [(here, ("top", "--once"))],
            "emit": [(here, ("emit", self.feed()))],
            "whatif": [(here, ("whatif", "--policy", "microsoft-2023"))],
            "state get": [(here, ("state", "get", TENANT, SERVER))],
            "state export": [(here, ("state", "export"))],
            "dlq list": [(here, ("dlq", "list"))],
            "dlq show": [(here, ("dlq", "show", "commands/0/0")), (here, ("dlq", "show", "connections/0/0"))],
            "dlq redrive": [(here, ("dlq", "redrive", "--all"))],
            "dlq discard": [(here, ("dlq", "discard", "--all", "--reason", "a test"))],
            "backup create --live": [(here, ("backup", "create", "--live", new))],
            "backup create": [(here, ("backup", "create", new))],
            "backup restore": [(target, ("backup", "restore", self.backup))] if command == "backup restore" else [],
            "repartition": [(here, ("repartition", *moved))],
        }
        return words[command]


@pytest.fixture(scope="module")
def world(secured: Secured, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, name = tmp_path_factory.mktemp("world"), uuid.uuid4().hex[:8]
    settings = Settings(
        bootstrap=secured.kafka.bootstrap,
        app_id=f"tes-{name}",
        topic_prefix=f"{name}.",
        partitions=1,
        state_dir=str(folder / "state"),
        session_timeout_seconds=6.0,
    )
    with asyncio.Runner() as runner:
        found = World(secured, settings, folder, runner)
        try:
            runner.run(found.begin())
            with pytest.MonkeyPatch.context() as patch:
                assert tes(patch, settings, "policy", "publish", PUBLISHED, "--effective-at", "2089-01-01") == 0
                words = ("catalogue", "publish", found.catalogue(), "--effective-at", "2089-02-01")
                assert tes(patch, settings, *words) == 0
                assert tes(patch, settings, "connectors", "publish", found.connectors()) == 0
            yield found
        finally:
            if found.worker is not None:
                found.worker.kill()
                runner.run(found.worker.wait())


def tes(patch: pytest.MonkeyPatch, settings: Settings, *words: str) -> int:
    """Run a command with the environment that these settings are."""
    with patch.context() as inner:
        for name, value in settings.environment().items():
            inner.setenv(name, value)
        return main(list(words))


def title(need: Need) -> str:
    return ", ".join(need.commands)


def test_the_page_has_every_command_that_asks_kafka() -> None:
    of_the_service = {"worker", "edge", "report", "notify", "config", "kafka"}
    without_kafka = {"inspect", "simulate", "table", "replay", "schemas", "completion"}
    names_what_it_lacks = {"doctor"}
    listed = {command.split()[0] for need in needs() for command in need.commands}
    assert listed == build_parser()[1] - of_the_service - without_kafka - names_what_it_lacks


@pytest.mark.timeout(240)
@pytest.mark.parametrize("need", needs(), ids=title)
def test_a_command_works_with_just_its_rights(
    world: World, need: Need, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if any(command.startswith("dlq") for command in need.commands):
        world.runner.run(world.poison())
    if need.commands[0] in ("backup create", "backup restore", "repartition"):
        world.runner.run(world.stop())

    def run(given: list[Right]) -> Iterator[tuple[str, int, str]]:
        for command in need.commands:
            target = world.target()
            world.runner.run(forbid_all(world.settings, USER))
            world.runner.run(allow(world.settings, given, USER, target))
            for settings, words in world.runs(command, target):
                capfd.readouterr()
                code = tes(monkeypatch, world.secured.scram(settings, "somebody"), *words)
                yield " ".join(words), code, capfd.readouterr().err

    for gone in sorted(set(need.rights)):
        names = names_of(world.settings)
        for words, code, err in run([right for right in need.rights if right != gone]):
            if words == SHOWN.get(gone.name):
                continue
            said = err.splitlines()[-1]
            assert code == 1, f"tes {words} without {gone}: exit code {code}: {err}"
            assert "Authorization" in said, f"tes {words} without {gone}: {err}"
            # A cluster's right is asked for before any topic's: to create, and to write where nothing may be written.
            assert names.get(gone.name, "") in said or gone.kind == "cluster" or "Cluster" in said, said
    for words, code, err in run(list(need.rights)):
        assert code == 0, f"tes {words}: {err}"
