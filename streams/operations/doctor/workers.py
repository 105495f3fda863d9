"""Looks at workers by the signs of life that they give, and at how far they have come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from streams.domain.outputs.progress import PartitionProgress
from streams.domain.time import MINUTE_MS
from streams.operations.doctor.findings import Finding, ok, problem, told, warning
from streams.operations.doctor.inputs import CLOCKS_PAGE, SKEW_MS

SILENT_MS: Final = 3 * MINUTE_MS
"""A partition whose worker gave no sign of life for so long stalls: one comes each minute."""
LATE_MS: Final = 5 * MINUTE_MS
"""What has waited for so long is late."""


def examine_signs(
    signs: Mapping[int, tuple[PartitionProgress, int]],
    partitions: int,
    members: int,
    in_force: Callable[[int], str],
    now: int,
) -> Iterable[Finding]:
    """What signs of life say.

    Args:
        signs: the last of each partition, with the broker's time of it (UTC milliseconds).
        partitions: of the connections.
        members: how many workers are members of the group.
        in_force: returns the policy that should be at a moment (UTC milliseconds), as `id/version`.
        now: UTC milliseconds.
    """
    if not members:
        yield problem("workers", "none is a member of the group", "docs/runbooks/TesNoWorkerReady.md")
    else:
        yield ok("workers", f"{members} in the group")
    silent = [number for number in range(partitions) if number not in signs or signs[number][1] < now - SILENT_MS]
    if silent:
        last = signs.get(silent[0])
        since = "never gave" if last is None else f"gave the last at {told(last[1])}, and since then none, not"
        text = f"{len(silent)} of {partitions} partitions: the worker of partition {silent[0]} {since} a sign of life"
        yield problem("signs of life", text, "docs/runbooks/TesPartitionStalled.md")
    elif partitions:
        yield ok("signs of life", f"all {partitions} partitions within {SILENT_MS // MINUTE_MS} minutes")
    living = {number: row for number, row in signs.items() if number < partitions and number not in silent}
    yield from _policies([sign for sign, _ in living.values()], in_force, now)
    skew = max((abs(sign.wall_clock - at) for sign, at in living.values()), default=0)
    if skew > SKEW_MS + MINUTE_MS:
        # A sign waits in its unit of work until that is committed.
        yield warning("clocks of workers", f"one differs from the brokers' by {skew / 1000:.0f} s", CLOCKS_PAGE)


def _policies(signs: Sequence[PartitionProgress], in_force: Callable[[int], str], now: int) -> Iterable[Finding]:
    """What workers decide by. A sign is compared with what was in force when it was given: it may be a minute old."""
    given = [(f"{sign.policy_id}/{sign.policy_version}", in_force(sign.wall_clock)) for sign in signs]
    wrong = {policy for policy, wanted in given if policy != wanted}
    page = "docs/runbooks/TesPoliciesDiffer.md"
    if len(wrong) > 1 or (wrong and any(policy == wanted for policy, wanted in given)):
        text = f"workers decide by different ones: {', '.join(sorted({policy for policy, _ in given}))}"
        yield problem("policy in force", text, page)
    elif wrong:
        text = f"workers decide by {wrong.pop()}, and these settings say {in_force(now)}"
        yield warning("policy in force", text, page)
    elif given:
        yield ok("policy in force", in_force(now))


def examine_lag(waiting: Mapping[TopicPartition, int], oldest: Sequence[Any], now: int) -> Iterable[Finding]:
    """How much waits to be processed.

    Args:
        waiting: the records that wait, by partition of an input.
        oldest: the first that waits, of each partition that has one.
        now: UTC milliseconds.
    """
    total = sum(waiting.values())
    since = min((record.timestamp for record in oldest), default=now)
    text = f"{total} records wait, the oldest since {told(since)}"
    if total and since < now - LATE_MS:
        yield problem("lag", text, "docs/runbooks/TesLagGrows.md")
    else:
        yield ok("lag", text if total else "nothing waits")
