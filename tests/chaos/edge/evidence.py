"""Gathers what a run left behind, and verifies it, as a program of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streams.kafka.reader import read_settled
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.registry import LocalRegistry
from tests.chaos.edge.expected import Limits
from tests.chaos.edge.log import Sample, Span, Written, read_log
from tests.chaos.edge.stalls import read_stalls
from tests.chaos.edge.verifier import Event, Run, compare, counts


async def events_of(settings: Settings) -> list[Event]:
    """The connections on their topic."""
    codec = AvroCodec("inbound_connection", LocalRegistry())
    topic = settings.topic(TOPICS["inbound_connection"])
    return [
        {**codec.decode(record.value), "partition": record.partition}
        async for record in read_settled(cluster_of(settings), topic)
    ]


def run_of(plan: dict[str, Any]) -> Run:
    """The run that a plan describes, without its events."""
    return Run(
        host=plan["host"],
        partitions=plan["partitions"],
        limits=Limits(*plan["limits"]),
        sent=[item for log in plan["logs"] for item in read_log(Path(log))],
        stalls=read_stalls(Path(plan["stalls"])),
        written=[Written(*row) for row in plan["written"]],
        samples=[Sample(*row) for row in plan["samples"]],
        dead=[Span(*row) for row in plan["dead"]],
        excused=[Span(*row) for row in plan["excused"]],
        lossy=[Span(*row) for row in plan["lossy"]],
        dropped=(plan["dropped"][0], plan["dropped"][1]),
        refused_left=plan["refused_left"],
    )


async def verify(plan: dict[str, Any]) -> dict[str, Any]:
    """Verify what a plan describes; gives counts and findings."""
    run = run_of(plan)
    settings = Settings(bootstrap=plan["bootstrap"], topic_prefix=plan["topic_prefix"], partitions=plan["partitions"])
    run.events = await events_of(settings)
    return {**counts(run), "findings": compare(run)}


def main(arguments: Sequence[str]) -> int:
    """Verify the plan in a file; the report goes to stdout as JSON."""
    report = asyncio.run(verify(json.loads(Path(arguments[0]).read_text())))
    print(json.dumps(report))
    return 1 if report["findings"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
