"""Any batches of what the report reads, for properties of its writer."""

from __future__ import annotations

from hypothesis import HealthCheck
from hypothesis import strategies as st

from streams.domain.keys import ServerKey
from streams.domain.time import HOUR_MS
from streams.kafka.places import Place
from streams.report.model.batch import NOTIFICATIONS, READ, SERVERS, VERDICTS, Batch, Read
from tests.support.report import (
    START,
    audit_record,
    batch_of,
    notification_record,
    read_of,
    report_record,
    verdict_record,
)

SLOW_DATABASE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
"""What hypothesis must not mind: a database serves all examples, and a busy machine draws them slowly."""


class BrokenError(Exception):
    """What a writer fails with at a step."""


def report(offset: int, server: int, at: int, accepted: int, status: str, partition: int) -> Read:
    stage = {"REPORTED": 0, "THROTTLED": 2, "BLOCKED": 5}.get(status, 0)
    counts = {"connections": accepted, "accepted": accepted, "deferred": accepted // 2}
    record = report_record(f"mx{server}.contoso.com", START + at * HOUR_MS, stage=stage, status=status, **counts)
    return read_of(SERVERS, offset, record | {"tenant_id": f"t{partition}"}, partition=partition)


@st.composite
def topics(draw: st.DrawFn) -> dict[Place, list[Read]]:
    """What some partitions hold, offsets with gaps as compaction leaves them."""
    found: dict[Place, list[Read]] = {}
    for name in READ:
        for partition in range(2):
            offset, reads = draw(st.integers(0, 3)), []
            for _ in range(draw(st.integers(0, 6))):
                reads.append(draw_read(draw, name, offset, partition))
                offset += draw(st.integers(1, 3))
            if reads:
                found[Place(name, partition)] = reads
    return found


def draw_read(draw: st.DrawFn, name: str, offset: int, partition: int) -> Read:
    server, tenant = draw(st.integers(0, 2)), f"t{partition}"
    key = ServerKey(tenant, f"mx{server}.contoso.com")
    if name == SERVERS:
        if draw(st.integers(0, 5)) == 0:
            return read_of(name, offset, None, key, partition)
        status = draw(st.sampled_from(["COMPLIANT", "REPORTED", "THROTTLED", "BLOCKED"]))
        return report(offset, server, draw(st.integers(0, 60)), draw(st.integers(0, 9)), status, partition)
    if name == VERDICTS:
        if draw(st.integers(0, 5)) == 0:
            return read_of(name, offset, None, key, partition)
        verdict = verdict_record(f"mx{server}.contoso.com", draw(st.integers(1, 9)))
        return read_of(name, offset, verdict | {"tenant_id": tenant}, partition=partition)
    number = draw(st.integers(0, 3))
    if name == NOTIFICATIONS:
        command = draw(st.sampled_from([None, f"c{number}"]))
        record = notification_record(number, command_id=command, tenant_id=tenant, text=f"text {offset}")
    else:
        record = audit_record(number, tenant_id=tenant, reason=f"reason {offset}")
    return read_of(name, offset, record, partition=partition)


def cut(draw: st.DrawFn, found: dict[Place, list[Read]]) -> list[Batch]:
    """Batches that hold everything in order within each partition; any may begin with what was read before."""
    at = dict.fromkeys(found, 0)
    batches = []
    while any(at[place] < len(reads) for place, reads in found.items()):
        some: list[Read] = []
        begins = {}
        for place, reads in found.items():
            back = draw(st.integers(0, at[place])) if draw(st.booleans()) else 0
            first, last = at[place] - back, draw(st.integers(at[place], len(reads)))
            if first < last:
                begins[place] = reads[first - 1].offset + 1 if first else reads[0].offset
                some += reads[first:last]
                at[place] = last
        if some:
            batches.append(batch_of(some, begins))
    return batches
