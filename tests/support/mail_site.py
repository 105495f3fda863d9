"""A whole site on this machine: Kafka, a worker, and the two processes of an edge, each of them real."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.domain.edge import EdgeVerdict
from streams.domain.keys import ServerKey
from streams.edge.ports import UnreadableVerdictError
from streams.edge.store.verdicts import VerdictReader
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.feeds import produce_feed
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.registry import LocalRegistry
from tests.support.old_servers import write_policy
from tests.support.ports import free_port
from tests.support.process import SECONDS, Process, command_of, environment_of

Found = TypeVar("Found")
CONNECTOR = "inbound"
"""The one that each tenant has."""


class Tenant(NamedTuple):
    """A tenant with one connector: whose clients come from a range of addresses, or show a certificate."""

    name: str
    cidrs: Sequence[str] = ()
    subjects: Sequence[str] = ()


class MailSite:
    """The processes, and what their topics and files hold. `with` starts and ends all of them."""

    def __init__(self, folder: Path, milter: Path, tenants: Iterable[Tenant], **edge: str) -> None:
        """Describe a site.

        Args:
            folder: where its files go.
            milter: the socket where the door answers.
            tenants: whose mail comes in.
            edge: more variables of the edge, such as `TES_EDGE_PROBE_MINUTES`.
        """
        self._stack, self._folder, self.milter = ExitStack(), folder, milter
        self.edge_folder = folder / "edge"
        self.kafka = EmbeddedKafka(folder / "kafka", jars_dir=ensure_jars())
        self._connectors = folder / "connectors.yaml"
        self._connectors.write_text(_connectors_yaml(tenants), encoding="utf-8")
        self._more, self._ports = edge, {name: free_port() for name in ("worker", "door", "sync")}
        self.settings = Settings()
        self._processes = dict[str, Process]()
        self._verdicts = VerdictReader(self.edge_folder)

    def __enter__(self) -> Self:
        with self._stack:
            self._stack.enter_context(self.kafka)
            self.settings = Settings(
                bootstrap=self.kafka.bootstrap,
                partitions=2,
                policies=(str(write_policy(self._folder)),),
                state_dir=str(self._folder / "state"),
                session_timeout_seconds=6.0,
                gather_seconds=0.05,
                tick_seconds=0.2,
                web_port=self._ports["worker"],
            )
            asyncio.run(create_topics(self.settings))
            for name in ("worker", "sync", "door"):
                self._stack.callback(self.end, name)
                self.start(name)
            for name in ("worker", "sync", "door"):
                self.until_ready(name)
            self._stack.callback(self._verdicts.close)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def worker_variables(self) -> dict[str, str]:
        """What a worker and an operator's commands are told."""
        return self.settings.environment()

    @property
    def edge_variables(self) -> dict[str, str]:
        """What the edge is told."""
        return {
            "TES_KAFKA_BOOTSTRAP": self.settings.bootstrap,
            "TES_EDGE_DIR": str(self.edge_folder),
            "TES_EDGE_MODE": "enforce",
            "TES_EDGE_CONNECTORS": str(self._connectors),
            "TES_EDGE_MILTER": f"unix:{self.milter}",
            "TES_EDGE_MILTER_MODE": "0666",
            "TES_EDGE_DOOR_PORT": str(self._ports["door"]),
            "TES_EDGE_SYNC_PORT": str(self._ports["sync"]),
            **self._more,
        }

    def start(self, name: str) -> None:
        """Start `worker`, `door` or `sync`, which does not run."""
        words = ("worker",) if name == "worker" else ("edge", name)
        variables = self.worker_variables if name == "worker" else self.edge_variables
        self._processes[name] = Process(self._folder / f"{name}.log", variables, *words)

    def until_ready(self, name: str) -> None:
        """Wait until a process says that it is ready."""
        self._processes[name].until_ready(self._ports[name])

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> int:
        """End a process; returns its exit code."""
        return self._processes[name].end(how) if name in self._processes else 0

    def tes(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of an operator or an administrator to its end."""
        given = environment_of(self.worker_variables | self.edge_variables | variables)
        return subprocess.run(command_of(*words), env=given, capture_output=True, text=True, check=False)

    def feed(self, lines: Iterable[bytes]) -> None:
        """Write connections to their topic, as if an edge had told of them."""
        asyncio.run(produce_feed(self.settings, lines))

    def verdict(self, tenant: str, server: str) -> EdgeVerdict | None:
        """What the edge's disk has about a server; None for nothing that can act."""
        self._verdicts.poll()
        try:
            return self._verdicts.find(ServerKey(tenant, server))
        except UnreadableVerdictError:
            return None

    def until_stage(self, tenant: str, server: str, stage: int) -> EdgeVerdict:
        """Wait until the edge's disk has a server in a stage; returns its verdict."""

        def found() -> EdgeVerdict | None:
            verdict = self.verdict(tenant, server)
            return verdict if verdict is not None and verdict.stage == stage else None

        return until(found)

    def records(self, name: str) -> list[dict[str, Any]]:
        """All records of a topic, by the name of their schema, tombstones left out."""
        codec, cluster = AvroCodec(name, LocalRegistry()), cluster_of(self.settings)

        async def read() -> list[dict[str, Any]]:
            topic = self.settings.topic(TOPICS[name])
            return [codec.decode(record.value) async for record in read_settled(cluster, topic) if record.value]

        return asyncio.run(read())

    def events(self, message_id: str) -> list[dict[str, Any]]:
        """The events of a message, each id once."""
        found = {row["event_id"]: row for row in self.records("inbound_connection") if row["message_id"] == message_id}
        return list(found.values())


def until(find: Callable[[], Found | None], seconds: float = SECONDS) -> Found:
    """Ask until there is something; returns it.

    Raises:
        TimeoutError: there is nothing in all that time.
    """
    deadline = time.monotonic() + seconds
    while not (found := find()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nothing within {seconds} s: last {found!r}")
        time.sleep(0.05)
    return found


def _connectors_yaml(tenants: Iterable[Tenant]) -> str:
    rows = [
        {
            "connector_id": CONNECTOR,
            "tenant_id": tenant.name,
            "type": "ON_PREMISES",
            "match": {"cidrs": list(tenant.cidrs), "tls_subjects": list(tenant.subjects)},
        }
        for tenant in tenants
    ]
    return json.dumps(rows)  # which is YAML
