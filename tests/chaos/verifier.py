"""Compares what a service left in its topics and in RocksDB with what the pure core says it must have left.

A program of its own: it is given a plan (where the topics are, which feeds were produced) and knows nothing of the
workers or of what was done to them. Exit code 1 and one finding for each difference.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from streams.domain.keys import ServerKey
from streams.domain.server.decide import Forgotten
from streams.engine.partition.restore import LOCAL_ROWS, POSITION
from streams.engine.partition.unit import MARKER, MERGED_MARKER
from streams.engine.ports import StoreError
from streams.kafka.partitioner import kafka_partition
from streams.kafka.topics import TOPICS
from streams.service.effects import TENANT
from streams.settings.worker import Settings
from streams.state.server_row import decode_state
from streams.state.tenant_row import decode_tenant
from streams.wire.records import to_record
from tests.chaos.evidence import INPUTS, Evidence, gather, repeated, store_rows
from tests.chaos.feeds import feed_of, lines
from tests.chaos.oracle import Fold, Step, fold

Row = dict[str, Any]
SHOWN = 5
"""Findings of one kind that are written out."""


def steps_of(plan: dict[str, Any]) -> list[Step]:
    """The steps that a plan describes."""
    return [
        Step(
            lines(feed_of(step["connections"])),
            lines(feed_of(step["commands"])) if step["commands"] else (),
            step["until_ms"],
            step.get("ahead_of_ms"),
        )
        for step in plan["steps"]
    ]


def settings_of(plan: dict[str, Any]) -> Settings:
    """Where the topics are."""
    names = ("bootstrap", "topic_prefix", "app_id", "partitions")
    return Settings(**{name: plan[name] for name in names}, policies=tuple(plan["policies"]))


def compare(
    found: Evidence, oracle: Fold, settings: Settings, stores: Sequence[Path] = (), again: bool = False
) -> list[str]:
    """Every difference; none is what is promised. `again` allows identical records to be there more than once."""
    results = oracle.results
    server_key = _key("tenant_id", "server")
    findings = [
        *outputs("verdict", "verdict_id", server_key, found.verdicts, to_record(tuple(results.verdicts)), again),
        *outputs(
            "notification",
            "notification_id",
            server_key,
            found.notifications,
            to_record(tuple(results.notifications)),
            again,
        ),
        *outputs("audit record", "audit_id", _key("tenant_id"), found.audit, to_record(tuple(results.audit)), again),
        *rows(found, oracle, again),
        *inputs(found, oracle, again),
        *offsets(found, settings),
        *states(found, oracle, settings),
    ]
    for folder in stores:
        findings += store(found, folder)
    return findings


def _key(*names: str) -> Callable[[Row], Any]:
    return lambda row: tuple(row[name] for name in names)


def outputs(
    kind: str, id_field: str, key: Callable[[Row], Any], found: list[Row], expected: list[Row], again: bool
) -> list[str]:
    """Records with ids: each exactly once, as it should be, and in order per key."""
    findings = []
    seen, wanted = _by_id(id_field, found), _by_id(id_field, expected)
    missing = [wanted[lost][0] for lost in wanted.keys() - seen.keys()]
    findings += _some(f"{kind} missing", map(_short, missing), len(missing))
    extra = [seen[more][0] for more in seen.keys() - wanted.keys()]
    findings += _some(f"{kind} that must not be", map(_short, extra), len(extra))
    doubled = [of for of, records in wanted.items() if len(seen.get(of, ())) > len(records) and not again]
    shown = (f"{len(seen[of])} times {_short(wanted[of][0])}" for of in doubled)
    findings += _some(f"{kind} doubled", shown, len(doubled))
    false = [row for of, records in seen.items() if of in wanted for row in records if row not in wanted[of]]
    findings += _some(f"{kind} falsified", (_difference(row, wanted[row[id_field]][0]) for row in false), len(false))
    if not (missing or extra or doubled):
        findings += _order(kind, id_field, key, found, expected)
    return findings


def _by_id(id_field: str, records: list[Row]) -> dict[Any, list[Row]]:
    by_id: dict[Any, list[Row]] = {}
    for row in records:
        by_id.setdefault(row[id_field], []).append(row)
    return by_id


def _order(kind: str, id_field: str, key: Callable[[Row], Any], found: list[Row], expected: list[Row]) -> list[str]:
    """Of each key in the order of the oracle; of what comes again, its first coming counts."""
    sequences: list[dict[Any, dict[str, None]]] = []
    for records in (found, expected):
        by_key: dict[Any, dict[str, None]] = {}
        for row in records:
            by_key.setdefault(key(row), {})[row[id_field]] = None
        sequences.append(by_key)
    wrong = [of for of, ids in sequences[0].items() if list(ids) != list(sequences[1].get(of, ()))]
    return _some(f"{kind}s out of order", map(str, wrong), len(wrong))


def rows(found: Evidence, oracle: Fold, again: bool) -> list[str]:
    """Server rows: the last of each key, and all that led to it."""
    expected: dict[bytes, list[Row | None]] = {}
    for row in oracle.rows:
        value = None if isinstance(row, Forgotten) else to_record(row)
        expected.setdefault(row.key.topic_key(), []).append(value)
    seen: dict[bytes, list[Row | None]] = {}
    for key, value in found.rows:
        seen.setdefault(key, []).append(value)
    findings = []
    for key in sorted(expected.keys() | seen.keys()):
        wanted, there = expected.get(key, []), seen.get(key, [])
        if wanted[-1:] != there[-1:]:
            last, should = (rows[-1] if rows else None for rows in (there, wanted))
            findings.append(f"server row falsified: {key.decode()}: {_difference(last or {}, should or {})}")
        elif not again and wanted != there:
            findings.append(f"server rows of {key.decode()}: {len(there)} with another history than {len(wanted)}")
    return findings


def inputs(found: Evidence, oracle: Fold, again: bool) -> list[str]:
    """Every record that must be refused is a dead letter, whole, once, and no other one is."""
    findings = []
    places = [place for place, _ in found.letters]
    doubled = {} if again else repeated(places)
    findings += _some("dead letter doubled", map(str, doubled), len(doubled))
    lost = [place for place, value in found.letters if found.suspects.get(place, b"?") != value]
    findings += _some("dead letter that is not its record", map(str, lost), len(lost))
    if len(set(places)) != len(oracle.refused):
        findings.append(f"dead letters: {len(set(places))} records, must be {len(oracle.refused)}")
    raw = Counter(value for _, value in dict(found.letters).items())
    there = set(found.suspects.values())
    unrefused = [line for line in oracle.refused if line in there and not raw[line]]
    return findings + _some("dead letter missing", (repr(line[:80]) for line in unrefused), len(unrefused))


def offsets(found: Evidence, settings: Settings) -> list[str]:
    """Marker and committed offset of every input partition are at its end: each record is applied or dead-lettered."""
    findings = []
    topics = {settings.topic(TOPICS[name]): row for name, row in zip(INPUTS, (MARKER, MERGED_MARKER), strict=True)}
    for (topic, partition), end in sorted(found.ends.items()):
        marker = int(found.state(partition).get(topics[topic], b"-1")) + 1
        committed = found.committed.get((topic, partition), 0)
        if (marker, committed) != (end, end):
            findings.append(f"{topic}-{partition}: ends at {end}, marker at {marker}, committed offset {committed}")
    return findings


def states(found: Evidence, oracle: Fold, settings: Settings) -> list[str]:
    """The state in the changelog is the fold, and each due moment in it has its row."""
    servers: dict[ServerKey, Any] = {}
    tenants: dict[str, Any] = {}
    findings = []
    for partition in found.changelog:
        state = found.state(partition)
        due = {key for key in state if key.startswith(b"d/")}
        indexed = set()
        for key, value in state.items():
            kind, _, name = key.partition(b"/")
            if kind == b"s":
                owner = ServerKey.parse(name)
                servers[owner], moment = decode_state(value)
            elif kind == b"t":
                owner = ServerKey(name.decode(), TENANT)
                tenants[owner.tenant_id], moment = decode_tenant(value)
            else:
                continue
            if kafka_partition(owner.tenant_id.encode(), settings.partitions) != partition:
                findings.append(f"state of {name.decode()} is in partition {partition}")
            if moment is not None:
                indexed.add(b"d/" + moment.to_bytes(8, "big") + b"/" + owner.topic_key())
        findings += _some("due row missing", map(repr, indexed - due), len(indexed - due))
        findings += _some("due row of nothing", map(repr, due - indexed), len(due - indexed))
    both: list[tuple[str, dict[Any, Any], dict[Any, Any]]]
    both = [("server", servers, oracle.states), ("tenant", tenants, oracle.tenants)]
    for subject, there, expected in both:
        for key in sorted(there.keys() | expected.keys()):
            if not is_the_same(there.get(key), expected.get(key), oracle.due_of(subject, key)):
                shown = _difference(*(to_record(of[key]) if key in of else {} for of in (there, expected)))
                findings.append(f"state of {subject} {key} is not the fold: {shown}")
    return findings


def is_the_same(there: Any, wanted: Any, next_due: int) -> bool:
    """Equal; but `clock_at` says that no timer is left before it, so any moment up to the next timer says the same."""
    if there is None or wanted is None or there == wanted:
        return bool(there == wanted)
    is_between = wanted.clock_at <= there.clock_at < next_due
    return is_between and bool(replace(there, clock_at=wanted.clock_at) == wanted)


def store(found: Evidence, folder: Path) -> list[str]:
    """A stopped worker's RocksDB holds what the changelog gives up to the position that it knows."""
    partition = _partition(folder)
    try:
        kept = store_rows(folder)
    except StoreError as error:
        return [f"RocksDB of partition {partition} cannot be read: {error}"]
    position = int(kept.get(POSITION, b"0"))
    own = _shared(kept)
    # A broker that does not tell the offset of a batch leaves the position behind the rows.
    if own in (found.state(partition, position), found.state(partition)):
        return []
    rebuilt = found.state(partition, position)
    wrong = [key for key in own.keys() | rebuilt.keys() if own.get(key) != rebuilt.get(key)]
    return _some(f"RocksDB of partition {partition} at {position} is not the changelog", map(repr, wrong), len(wrong))


def _shared(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: value for key, value in rows.items() if key not in LOCAL_ROWS}


def _partition(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _some(kind: str, shown: Iterable[str], count: int | None = None) -> list[str]:
    every = sorted(shown)
    more = len(every) if count is None else count
    return [f"{kind}: {text}" for text in every[:SHOWN]] + ([f"{kind}: {more} in all"] if more > SHOWN else [])


def _short(row: Row) -> str:
    names = ("tenant_id", "server", "revision", "kind", "command_id", "occurred_at", "issued_at")
    return " ".join(f"{name}={row[name]}" for name in names if row.get(name) is not None)


def _difference(there: Row, wanted: Row) -> str:
    names = [name for name in wanted | there if there.get(name) != wanted.get(name)]
    fields = [f"{name}: {there.get(name)!r:.60}, must be {wanted.get(name)!r:.60}" for name in names[:4]]
    return f"{_short(wanted or there)}: " + "; ".join(fields)


async def verify(plan: dict[str, Any]) -> dict[str, Any]:
    """Verify what a plan describes; gives counts and findings."""
    settings = settings_of(plan)
    oracle = fold(steps_of(plan), settings.policies, settings.partitions)
    found = await gather(settings)
    stores = [Path(path) for path in plan["stores"]]
    if plan["cut"]:  # the changelog no longer has it all, so that RocksDB stands for it
        found.changelog = {
            _partition(folder): [(0, *row) for row in _shared(store_rows(folder)).items()] for folder in stores
        }
    findings = compare(found, oracle, settings, stores, plan["again"])
    return {
        "inputs": found.inputs,
        "verdicts": len(found.verdicts),
        "notifications": len(found.notifications),
        "rows": len(found.rows),
        "audit records": len(found.audit),
        "dead letters": len(found.letters),
        "states": len(oracle.states),
        "stores": len(plan["stores"]),
        "findings": findings,
    }


def main(arguments: Sequence[str]) -> int:
    """Verify the plan in a file; the report goes to stdout as JSON."""
    plan = json.loads(Path(arguments[0]).read_text())
    report = asyncio.run(verify(plan))
    print(json.dumps(report))
    return 1 if report["findings"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
