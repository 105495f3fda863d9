"""What the product decides and stores today, kept so that a change of it is seen: as a difference of files in a review.

`python -m tests.golden` writes the files anew. `simulate.json` has, for each policy and result file of the sample feed,
its number of lines, its checksum, counts and its first lines; `state_rows.json` has the bytes of state rows and what
they stand for.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import types
from collections import Counter
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from io import StringIO
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Union, get_args, get_origin, get_type_hints

from streams.adapters.avro_codec import AvroCodec
from streams.adapters.catalogue_files import shipped_catalogue
from streams.adapters.policy_files import read_policy
from streams.adapters.projection import header_of
from streams.adapters.records import parse_moment, to_record
from streams.adapters.schemas import LocalRegistry
from streams.adapters.state_codec import encode_state, encode_tenant
from streams.adapters.stores import MemoryStore
from streams.agents.inputs import InputProcessor
from streams.agents.rows import server_row, tenant_row
from streams.agents.state_rows import shown_row
from streams.app import wires_of
from streams.cli.main import main
from streams.domain.build import Build
from streams.domain.commands import AdminCommand, CommandKind, Role
from streams.domain.connection import DAY_MS, ConnectorType, InboundConnection
from streams.domain.pauses import TenantEnforcement
from streams.domain.rules import Rulebook
from streams.domain.state import ServerEnforcement
from streams.engine.view import View
from streams.settings import Settings
from tests.given import Given

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "tests" / "data" / "golden"
POLICIES = ("microsoft-2026-09", "tests/data/golden/day-dependent.yaml")
FIRST_LINES = 2
COUNTED = ("kind", "status", "action", "stage", "finding")
"""Of the fields of a record, those whose values are counted."""
Golden = dict[str, Any]


# --- simulate ---


def simulated(policy: str) -> Golden:
    """What `tes simulate` writes over the sample feed under a policy, by file."""
    with TemporaryDirectory() as out:
        path = str(REPOSITORY / policy) if policy.endswith(".yaml") else policy
        feed = str(REPOSITORY / "examples" / "feed.jsonl")
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            code = main(["simulate", "--feed", feed, "--policy", path, "--until", "2026-10-01", "--out", out])
        assert code == 0
        return {file.name: _summary(file.read_bytes()) for file in sorted(Path(out).glob("*.jsonl"))}


def _summary(content: bytes) -> Golden:
    records = [json.loads(line) for line in content.splitlines()]
    counts = {name: Counter(str(record[name]) for record in records if name in record) for name in COUNTED}
    return {
        "lines": len(records),
        "sha256": hashlib.sha256(content).hexdigest(),
        "counts": {name: dict(sorted(found.items())) for name, found in counts.items() if found},
        "first": records[:FIRST_LINES],
    }


# --- states, of values that differ from each other ---


def hints_of(kind: type[Any]) -> dict[str, Any]:
    """The types of a class's fields, read from its source: a compiled class does not know them."""
    module = sys.modules[kind.__module__]
    source = REPOSITORY.joinpath(*kind.__module__.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    (found,) = (
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    stated = {
        node.target.id: ast.unparse(node.annotation)
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return get_type_hints(types.SimpleNamespace(__annotations__=stated), vars(module))


class _Filler:
    """Makes values of any type of the domain, each of them another one."""

    def __init__(self) -> None:
        self._numbers = count(1_000_003, 7)
        self._choices: dict[type, Any] = {}

    def value(self, kind: Any, name: str) -> Any:
        """A value of a type; `name` is part of texts."""
        origin, inner = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            return self.value(next(item for item in inner if item is not type(None)), name)
        if origin is tuple and inner[-1] is not Ellipsis:
            return tuple(self.value(item, name) for item in inner)
        if origin is tuple:
            return tuple(self.value(inner[0], name) for _ in range(2))
        if origin is not None and issubclass(origin, Mapping):
            return {self.value(inner[0], name): self.value(inner[1], name) for _ in range(2)}
        return self._plain(kind, name)

    def _plain(self, kind: Any, name: str) -> Any:
        if kind is bool:
            return False
        if kind is int:
            return next(self._numbers)
        if kind is str:
            return f"{name}-{next(self._numbers)}-\u00fc"
        if kind is bytes:
            return b"".join(next(self._numbers).to_bytes(8, "big") for _ in range(2))
        if issubclass(kind, Enum):
            members = list(kind)
            self._choices[kind] = self._choices.get(kind, -1) + 1
            return members[self._choices[kind] % len(members)]
        return kind(**{part: self.value(hint, part) for part, hint in hints_of(kind).items()})


def full(kind: type[Any]) -> Any:
    """A value of a dataclass in which no two numbers, texts or moments are the same."""
    filler, hints = _Filler(), hints_of(kind)
    return kind(**{item.name: filler.value(hints[item.name], item.name) for item in fields(kind)})


def bare(state: Any) -> Any:
    """The same with nothing in whatever may be empty."""
    hints = hints_of(type(state))
    empty: dict[str, Any] = {}
    for item in fields(state):
        origin, inner = get_origin(hints[item.name]), get_args(hints[item.name])
        if type(None) in inner:
            empty[item.name] = None
        elif origin is tuple:
            empty[item.name] = ()
        elif origin is not None and issubclass(origin, Mapping):
            empty[item.name] = {}
    return replace(state, **empty)


def states() -> dict[str, tuple[Any, int | None]]:
    """Names of states, the states, and the moments that the due index holds for them."""
    server, tenant = full(ServerEnforcement), full(TenantEnforcement)
    assert is_dataclass(server)
    flags = [item.name for item in fields(server) if hints_of(ServerEnforcement)[item.name] is bool]
    return {
        "server": (server, 999_983),
        "server, all that may be empty is": (bare(server), None),
        "server, a build without an update": (replace(server, build=Build(15, 1, 2507, None)), None),
        **{f"server, {name}": (replace(server, **{name: True}), None) for name in flags},
        "tenant": (tenant, 999_983),
        "tenant, all that may be empty is": (bare(tenant), None),
    }


def encoded(state: Any, due_at: int | None) -> bytes:
    """The row of a state."""
    return (encode_state if isinstance(state, ServerEnforcement) else encode_tenant)(state, due_at)


def _key(state: Any) -> bytes:
    if isinstance(state, ServerEnforcement):
        return server_row(state.tenant_id, state.server)
    return tenant_row(state.tenant_id)


# --- the rows of a worker's store ---

START = parse_moment("start", "2026-10-01T12:00:00Z")


def worker_rows(before: Mapping[bytes, bytes] | None = None) -> dict[bytes, bytes]:
    """The store of a worker after some records, long silence, and in the middle of a change of policies.

    Without `before` it begins empty.
    """
    store = MemoryStore()
    store.write(dict(before or {}))
    settings, registry = Settings(), LocalRegistry()
    wires, connections = wires_of(settings), AvroCodec("inbound_connection", registry)
    policy = read_policy("microsoft-2026-09")
    rulebooks = [Rulebook((policy,), shipped_catalogue()), Rulebook((replace(policy, version=2),), shipped_catalogue())]
    processor = InputProcessor(lambda: rulebooks[0], wires, header_of(registry), START + 500 * DAY_MS)

    def unit(records: list[Given], moment: int, limit: int) -> None:
        view = View(store)
        processor.begin(view)
        processor.on_tick(view, moment, limit)
        assert processor.on_records(view, records, None) == len(records)
        assert not view.rejected
        processor.finish(view)
        store.write(view.changes)

    def seen(server: int, at: int, build: str) -> Given:
        event = InboundConnection(
            event_id=f"event-{server}-{at}",
            observed_at=at,
            tenant_id="tenant-1",
            connector_id="connector-1",
            connector_type=ConnectorType.ON_PREMISES,
            source_ip="192.0.2.1",
            helo="h",
            received=(f"from a by mx{server}.example.com with Microsoft SMTP Server id {build}; x",),
        )
        return Given(wires.connections_topic, 0, 0, b"tenant-1", connections.encode(to_record(event)))

    def paused(at: int) -> Given:
        command = AdminCommand(
            command_id="command-1",
            tenant_id="tenant-1",
            issued_at=at,
            issued_by="admin",
            role=Role.TENANT_ADMIN,
            kind=CommandKind.PAUSE_CREATE,
            days=10,
        )
        return Given(
            settings.topic("enforcement.commands.v1"), 0, 0, b"tenant-1", wires.commands.encode(to_record(command))
        )

    if before is None:
        unit([seen(0, START, "15.1.2507.39")], 0, 1000)
        unit([], START + 401 * DAY_MS, 1000)  # the first server is forgotten
        later = START + 450 * DAY_MS
        unit(
            [seen(number, later + number, build) for number, build in ((1, "15.1.2507.39"), (2, "15.1.2507.61"))], 0, 9
        )
        unit([paused(later + DAY_MS)], 0, 9)
    rulebooks.reverse()
    unit([], 0, 1)
    if before is not None:
        unit([], 0, 1000)
    return dict(store.scan(b"", b"\xff"))


def state_rows() -> list[Golden]:
    """The rows of all kinds: what they are, their keys and values in hex, and what they show."""
    rows = [(name, _key(state), encoded(state, due_at)) for name, (state, due_at) in states().items()]
    rows += [("of a worker's store", key, value) for key, value in worker_rows().items()]
    return [
        {"name": name, "key": key.hex(), "value": value.hex(), "shows": json.loads(json.dumps(shown_row(key, value)))}
        for name, key, value in rows
    ]


def simulations() -> Golden:
    """By policy, what `simulated` gives."""
    return {policy: simulated(policy) for policy in POLICIES}


FILES = {"simulate.json": simulations, "state_rows.json": state_rows}


def write() -> None:
    """Write the files anew."""
    for name, make in FILES.items():
        text = json.dumps(make(), indent=1, ensure_ascii=False, sort_keys=True)
        (FOLDER / name).write_text(text + "\n", encoding="utf-8")
        sys.stdout.write(f"{FOLDER / name}\n")


if __name__ == "__main__":
    write()
