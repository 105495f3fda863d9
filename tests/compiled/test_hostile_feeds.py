"""The counting kernel beside commands, sweeps, ticks, restarts and texts of odd forms."""

from __future__ import annotations

import random
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.tenant.commands import CommandKind
from streams.domain.time import DAY_MS, HOUR_MS
from streams.engine.partition.view import StateView
from streams.testing import FakeRecord, MemoryStore
from streams.worker.processor import InputProcessor
from tests.support.changing_policies import CHANGE, POLICIES, REFUSED, RULEBOOKS
from tests.support.four_servers import CODEC, HEADER, WIRES, feed
from tests.support.machine_feed import SOURCES, cloud_feed, machine_feed, mixed_feed
from tests.support.partition import COMMANDS, COMMANDS_TOPIC, command

FEEDS = [feed, machine_feed, mixed_feed, cloud_feed]
NAMES = ["any builds", "steady machines", "mixed machines", "cloud builds"]
STEPS = (3, 700, 20_000, HOUR_MS // 30, HOUR_MS)
WHOLE = ("PAUSE_CREATE", "PAUSE_CANCEL")
KINDS = tuple(kind.value for kind in CommandKind if not kind.name.endswith("PUBLISHED"))
ODD_SOURCES = ("", "here", "192.0.2.01", "fe80::1%eth0", "2001:db8::1", "2001:DB8::1", "::ffff:192.0.2.1", "9" * 300)
CONNECTORS = ("", "c", "c" * 63, "c" * 64, "c" * 998, "c" * 999, "c\u00e9", "\U0001f600")
EVENTS = ("", "e" * 255, "e" * 256, "e\u00e9", "e1")


def odd(chance: random.Random, row: dict[str, Any]) -> dict[str, Any]:
    """A connection that has, now and then, texts of another form or length."""
    row = row | {"refused_before": chance.choice(REFUSED)}
    if chance.random() < 0.05:
        row["source_ip"] = chance.choice((*ODD_SOURCES, *SOURCES))
    if chance.random() < 0.1:
        row["connector_id"] = chance.choice(CONNECTORS)
    if chance.random() < 0.05:
        row["event_id"] = chance.choice(EVENTS)
    if chance.random() < 0.05:
        row["received"] = [*row["received"], *[chance.choice(row["received"])] * chance.choice((1, 3, 62, 63, 256))]
    if chance.random() < 0.05:
        lines = list(row["received"])
        at = chance.randrange(len(lines))
        lines[at] = chance.choice(
            [
                lines[at].upper(),
                lines[at].lower(),
                lines[at].replace("id 1", "id 9", 1),
                lines[at].replace("from a", "from " + "a" * chance.choice((900, 1100, 9_000)), 1),
                lines[at].replace("; ", ";", 1),
                lines[at] + " (x; y)",
                lines[at].replace("; ", "; " + " " * chance.choice((10, 33, 34, 90)), 1),
                lines[at].replace(".example", ".ex\u00e4mple", 1),
                "",
            ]
        )
        row["received"] = lines
    return row


def any_command(chance: random.Random, number: int, at: int, row: dict[str, Any], kinds: tuple[str, ...]) -> FakeRecord:
    kind = chance.choice(kinds)
    hosts = ("mx0.example.com", "mx1.example.com", "mx1.mail.protection.outlook.com")
    value = command(
        number,
        tenant_id=row["tenant_id"],
        kind=kind,
        issued_at=at,
        days=chance.choice((1, 2, 20)),
        server=None if kind in WHOLE and chance.random() < 0.9 else chance.choice(hosts),
        expires_at=at + chance.randrange(1, 40) * DAY_MS,
        build=chance.choice(("15.1.2507.61", "15.2.2562.45")),
    )
    return FakeRecord(COMMANDS_TOPIC, number, at, row["tenant_id"].encode(), COMMANDS.encode(value))


def records_of(rows: list[dict[str, Any]], seed: int, share: float, kinds: tuple[str, ...]) -> list[FakeRecord]:
    chance = random.Random(seed)
    records: list[FakeRecord] = []
    latest = 0
    for row in rows:
        latest = max(latest, row["observed_at"])
        if chance.random() < share:
            records.append(any_command(chance, len(records), latest, row, kinds))
        found = odd(chance, row)
        value, tenant = CODEC.encode(found), found["tenant_id"].encode()
        records.append(FakeRecord(WIRES.connections_topic, len(records), row["observed_at"], tenant, value))
    return records


class Run:
    """A processor with or without the kernel, which dies now and then, and all that it has written."""

    def __init__(self, rulebook: Any, until: int, cached: int, has_kernel: bool, follows: bool) -> None:
        self.args = (lambda: rulebook, WIRES, HEADER)
        self.kwargs: dict[str, Any] = {"cached_servers": cached, "servers_at_once": 1, "has_kernel": has_kernel}
        self.kwargs |= {"replay_until": None, "now": lambda: until} if follows else {"replay_until": until}
        self.processor = InputProcessor(*self.args, **self.kwargs)
        self.store, self.units, self.taken = MemoryStore(), list[Any](), 0

    def end(self) -> None:
        kernel = self.processor._routine_path._kernel
        self.taken += kernel.taken if kernel is not None else 0

    def feed(self, records: list[FakeRecord], seed: int) -> None:
        chance = random.Random(seed)
        time = 0
        while records:
            view = StateView(self.store)
            self.processor.begin(view)
            moment = time if chance.random() < 0.4 else 0
            limit = chance.choice((1, 2, 100))
            more = self.processor.on_tick(view, moment, limit)
            size, done = chance.randrange(1, 40), 0
            for topic, group in groupby(records[:size], key=lambda record: record.topic):
                run = list(group)
                before = chance.choice((None, None, run[0].timestamp, run[-1].timestamp))
                got = self.processor.on_records(view, run, before if topic == WIRES.connections_topic else None)
                if got < len(run) and before is not None and not view.is_full:
                    got += self.processor.on_records(view, run[got:], None)
                done += got
                if got < len(run):
                    break
            self.processor.finish(view)
            dies = chance.random()
            if dies < 0.05:
                self.end()
                self.processor = InputProcessor(*self.args, **self.kwargs)
            if dies < 0.03:
                continue
            self.store.write(view.changes)
            notes = view.notes
            self.units.append((more, done, view.outputs, view.changes, view.rejected, notes.counts, notes.moments))
            self.units.append(self.processor._stream_time)
            time = max([time, *(record.timestamp for record in records[:done])])
            records = records[done:]
        self.end()


def assert_same(rulebook: Any, records: list[FakeRecord], until: int, cached: int, seed: int, follows: bool) -> int:
    runs = [Run(rulebook, until, cached, has_kernel, follows) for has_kernel in (True, False)]
    for run in runs:
        run.feed(records, seed)
    for one, other in zip(*[run.units for run in runs], strict=True):
        assert one == other
    assert dict(runs[0].store.scan(b"", b"\xff")) == dict(runs[1].store.scan(b"", b"\xff"))
    return runs[0].taken


@pytest.mark.parametrize("policies", POLICIES)
@pytest.mark.parametrize("make", FEEDS, ids=NAMES)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    step=st.sampled_from(STEPS),
    cached=st.sampled_from((1, 3, 1000)),
    share=st.sampled_from((0.0, 0.02, 0.2)),
    whole=st.booleans(),
    follows=st.booleans(),
)
def test_commands_and_odd_values_between_connections(
    make: Any, policies: str, seed: int, step: int, cached: int, share: float, whole: bool, follows: bool
) -> None:
    rows = make(seed, 250, step, start=CHANGE - 125 * step // 2)
    records = records_of(rows, seed, share, KINDS if whole else tuple(kind for kind in KINDS if kind not in WHOLE))
    until = max(row["observed_at"] for row in rows) + (0 if follows else DAY_MS)
    assert_same(RULEBOOKS[policies], records, until, cached, seed, follows)


def test_the_kernel_takes_some_of_such_connections() -> None:
    rows = mixed_feed(1, 250, 700, start=CHANGE - 90_000)
    records = records_of(rows, 1, 0.02, KINDS)
    assert assert_same(RULEBOOKS["plain"], records, rows[-1]["observed_at"] + DAY_MS, 1_000, 1, False) > 10
