"""Produces one step of a plan, as a program of its own: encoding a feed would keep the scenarios from their work."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streams.kafka.provisioning import create_topics
from streams.operations.feeds import produce_commands, produce_feed
from streams.settings.worker import Settings
from tests.chaos.feeds import feed_of, lines


async def load(bootstrap: str, settings: dict[str, Any], step: dict[str, Any]) -> int:
    """Create the topics that are not there, and write the step's records; gives how many."""
    corner = Settings(bootstrap=bootstrap, **settings)
    await create_topics(corner)
    count, _ = await produce_feed(corner, lines(feed_of(step["connections"])))
    if step["commands"]:
        count += (await produce_commands(corner, lines(feed_of(step["commands"]))))[0]
    return count


def main(arguments: Sequence[str]) -> int:
    """Load what a file describes; the number of records goes to stdout."""
    given = json.loads(Path(arguments[0]).read_text())
    print(asyncio.run(load(given["bootstrap"], given["settings"], given["step"])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
