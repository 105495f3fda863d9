"""A feed in parts comes to the same as all of it at once, however far a worker is when the next part comes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import orjson
import pytest

from streams.settings.worker import Settings
from streams.wire.records import parse_moment, to_record
from tests.chaos.feeds import START, UNTIL, Feed, lines
from tests.chaos.oracle import Fold, Step, fold

PARTS, PARTITIONS, COUNT = 4, 3, 300


def part(kind: str, number: int) -> list[bytes]:
    count = COUNT if kind == "mixed" else 10
    return list(lines(Feed(kind, 70 + number, count, part=number, parts=PARTS)))


def moments(found: Iterable[bytes], field: str) -> list[int]:
    moments = []
    for line in found:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if field in record:
            moments.append(parse_moment(field, record[field]))
    return moments


def left_by(steps: list[Step]) -> dict[str, Any]:
    found: Fold = fold(steps, Settings().policies, PARTITIONS)
    results = found.results
    by_server: dict[Any, list[Any]] = {}
    for verdict in to_record(tuple(results.verdicts)):
        by_server.setdefault((verdict["tenant_id"], verdict["server"]), []).append(verdict)
    return {
        "verdicts": by_server,
        "notifications": sorted(note["notification_id"] for note in to_record(tuple(results.notifications))),
        "audit": sorted(row["audit_id"] for row in to_record(tuple(results.audit))),
        "states": found.states,
        "tenants": found.tenants,
        "refused": sorted(found.refused),
    }


def test_nothing_of_a_part_is_older_than_the_part_before() -> None:
    before = 0
    for number in range(PARTS):
        found = moments(part("mixed", number), "observed_at") + moments(part("commands", number), "issued_at")
        assert min(found) >= before
        before = max(found) + 1
    assert before <= UNTIL


@pytest.mark.parametrize("until_ms", [None, START], ids=["amid a part", "behind each part"])
def test_parts_come_to_what_all_of_them_come_to_at_once(until_ms: int | None) -> None:
    connections, commands = ([part(kind, number) for number in range(PARTS)] for kind in ("mixed", "commands"))
    steps = [Step(of, with_, until_ms) for of, with_ in zip(connections, commands, strict=True)]
    steps[-1] = Step(connections[-1], commands[-1], UNTIL)
    at_once = Step(chain(*connections), chain(*commands), UNTIL)
    assert left_by(steps) == left_by([at_once])
