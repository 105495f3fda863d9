"""`tes simulate`: a feed through the pure core, in one process and without Kafka."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from streams.adapters.catalogue_files import shipped_catalogue
from streams.adapters.policy_files import DEFAULT_POLICY, PolicyError, read_policy
from streams.adapters.records import connection_of, connection_record, to_json_line, to_record
from streams.cli.inspect import parse_day_or_moment
from streams.domain.connection import InboundConnection, MalformedError, check_connection
from streams.domain.rules import Rulebook
from streams.simulation import simulate


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `simulate` and `replay` share."""
    parser.add_argument("--feed", required=True, metavar="FILE.jsonl", help="connections, one JSON object a line")
    parser.add_argument("--policy", action="append", metavar="NAME|FILE", help=f"repeatable ({DEFAULT_POLICY})")
    parser.add_argument("--until", metavar="DATE", help="move every clock to this day or moment after the last event")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the result files go")


def add_parser(commands: Any) -> None:
    """Add the command to `tes`."""
    parser = commands.add_parser("simulate", help="run a feed through the rules, in process")
    add_options(parser)
    parser.set_defaults(run=run)


def rulebook_of(names: list[str] | None) -> Rulebook:
    """The rulebook of the named policies.

    Raises:
        ValueError: a policy is malformed, or two begin at the same moment.
    """
    return Rulebook(tuple(read_policy(name) for name in names or [DEFAULT_POLICY]), shipped_catalogue())


def feed_lines(path: Path) -> Iterator[bytes]:
    """The lines of a feed that hold something."""
    with path.open("rb") as feed:
        for line in feed:
            if line.strip():
                yield line.rstrip(b"\r\n")


def read_connection(line: bytes) -> InboundConnection:
    """One valid connection of a feed.

    Raises:
        MalformedError: names the field, the value and the rule.
    """
    connection = connection_of(connection_record(line))
    check_connection(connection)
    return connection


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """Write Avro-shaped records as JSON lines."""
    with path.open("wb") as out:
        for record in records:
            out.write(to_json_line(record))


def run(arguments: argparse.Namespace) -> int:
    """Simulate; exit code 2 for input that cannot be read."""
    out = Path(arguments.out)
    try:
        rulebook = rulebook_of(arguments.policy)
        until = parse_day_or_moment("--until", arguments.until) if arguments.until else None
        Path(arguments.feed).open("rb").close()
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, PolicyError, ValueError) as error:
        print(f"tes simulate: {error}", file=sys.stderr)
        return 2
    refused: list[dict[str, str]] = []
    current = b""

    def reader(line: bytes) -> Callable[[], InboundConnection]:
        def read() -> InboundConnection:
            nonlocal current
            current = line
            return read_connection(line)

        return read

    def on_malformed(error: MalformedError) -> None:
        refused.append({"error": str(error), "value": current.decode("utf-8", "replace")})

    results = simulate(map(reader, feed_lines(Path(arguments.feed))), rulebook, until, on_malformed)
    write_lines(out / "verdicts.jsonl", map(to_record, results.verdicts))
    write_lines(out / "notifications.jsonl", map(to_record, results.notifications))
    servers = [results.servers[key] for key in sorted(results.servers)]
    write_lines(out / "servers.jsonl", map(to_record, servers))
    write_lines(out / "dead_letters.jsonl", refused)
    statuses = Counter(row.status.value for row in servers)
    print(
        f"{len(results.verdicts)} verdicts, {len(results.notifications)} notifications, {len(servers)} servers ("
        f"{', '.join(f'{count} {name}' for name, count in sorted(statuses.items()))}), "
        f"{len(refused)} malformed records: {out}",
        file=sys.stderr,
    )
    return 0
