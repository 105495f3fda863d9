"""`tes simulate`: a feed through the pure core, in one process and without Kafka."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from streams.adapters.catalogue_files import shipped_catalogue
from streams.adapters.policy_files import DEFAULT_POLICY, PolicyError, read_policy
from streams.adapters.records import (
    command_of,
    command_record,
    connection_of,
    connection_record,
    in_order_of_issue,
    parse_day_or_moment,
    to_json_line,
    to_record,
)
from streams.cli.catalogue import given_catalogues
from streams.cli.messages import print_error, print_message
from streams.domain.commands import AdminCommand, check_command
from streams.domain.connection import MAX_AHEAD_MS, InboundConnection, MalformedError
from streams.domain.rules import Rulebook
from streams.domain.sighting import check_sighting
from streams.domain.verdict import iso
from streams.engine.config import kafka_partition
from streams.settings import read_settings
from streams.simulation import simulate


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `simulate` and `replay` share."""
    parser.add_argument("--feed", required=True, metavar="FILE.jsonl", help="connections, one JSON object a line")
    parser.add_argument("--policy", action="append", metavar="NAME|FILE", help=f"repeatable ({DEFAULT_POLICY})")
    parser.add_argument(
        "--catalogue",
        action="append",
        metavar="FOLDER[@DATE]",
        help="a catalogue in force from then on, else from the first event; repeatable (the built-in one)",
    )
    parser.add_argument("--commands", metavar="FILE.jsonl", help="administrator commands, one JSON object a line")
    parser.add_argument("--until", metavar="DATE", help="move every clock to this day or moment after the last event")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the result files go")


def add_parser(commands: Any) -> None:
    """Add the command to `tes`."""
    parser = commands.add_parser("simulate", help="run a feed through the rules, in process")
    add_options(parser)
    parser.set_defaults(run=run)


def rulebook_of(names: list[str] | None, catalogues: list[str] | None = None) -> Rulebook:
    """The rulebook of the named policies, and of the catalogues given as `FOLDER[@DATE]`.

    Raises:
        ValueError: a policy or catalogue is malformed, or two begin at the same moment.
    """
    policies = tuple(read_policy(name) for name in names or [DEFAULT_POLICY])
    published = tuple(published for published, _ in given_catalogues(catalogues))
    return Rulebook(policies, shipped_catalogue(), catalogues=published)


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
    check_sighting(connection)
    return connection


def read_commands(path: str | None) -> tuple[list[AdminCommand], list[dict[str, str]]]:
    """The valid commands of a file, and what is malformed with its error.

    Raises:
        OSError: the file cannot be read.
    """
    commands, refused = [], []
    for line in in_order_of_issue(feed_lines(Path(path))) if path else ():
        try:
            command = command_of(command_record(line))
            check_command(command)
        except MalformedError as error:
            refused.append({"error": str(error), "value": line.decode("utf-8", "replace")})
        else:
            commands.append(command)
    return commands, refused


def write_results(
    out: Path,
    verdicts: Sequence[dict[str, Any]],
    notifications: Sequence[dict[str, Any]],
    servers: Sequence[dict[str, Any]],
    dead_letters: Sequence[dict[str, str]],
    audit: Sequence[dict[str, Any]],
) -> str:
    """Write the result files of Avro-shaped records, in an order that does not depend on how they came; say what."""
    rows: dict[str, list[Any]] = {
        "verdicts": sorted(
            verdicts, key=lambda row: (row["issued_at"], row["tenant_id"], row["server"], row["revision"])
        ),
        "notifications": sorted(notifications, key=lambda row: (row["occurred_at"], row["notification_id"])),
        "servers": list(servers),
        "audit": sorted(audit, key=lambda row: (row["occurred_at"], row["audit_id"])),
        "dead_letters": sorted(dead_letters, key=lambda row: (row["value"], row["error"])),
    }
    for name, records in rows.items():
        with (out / f"{name}.jsonl").open("wb") as file:
            file.writelines(map(to_json_line, records))
    statuses = Counter(row["status"] for row in servers)
    shown = ", ".join(f"{count} {name}" for name, count in sorted(statuses.items()))
    return (
        f"{len(verdicts)} verdicts, {len(notifications)} notifications, {len(servers)} servers ({shown}), "
        f"{len(dead_letters)} dead letters: {out}"
    )


class _Future:
    """Events that a live service would refuse since they are ahead of its clock, and the last event of all."""

    def __init__(self) -> None:
        self.count = self.latest = 0
        self.latest_id = self._first = ""

    def note(self, connection: InboundConnection, now: int) -> None:
        """Look at an event; moments in UTC milliseconds."""
        at = connection.observed_at
        if at > self.latest:
            self.latest, self.latest_id = at, connection.event_id
        if at > now + MAX_AHEAD_MS:
            self._first = self._first or f"event_id {connection.event_id!r}, observed_at {iso(at)}"
            self.count += 1

    def __str__(self) -> str:
        said = "events are more than five minutes in the future: a live service makes dead letters of them"
        return f"{self.count} {said}; the first: {self._first}"


def run(arguments: argparse.Namespace) -> int:
    """Simulate; exit code 2 for input that cannot be read."""
    out = Path(arguments.out)
    try:
        rulebook = rulebook_of(arguments.policy, arguments.catalogue)
        commands, refused = read_commands(arguments.commands)
        partitions = read_settings().partitions
        until = parse_day_or_moment("--until", arguments.until) if arguments.until else None
        Path(arguments.feed).open("rb").close()
        out.mkdir(parents=True, exist_ok=True)
    except (OSError, PolicyError, ValueError) as error:
        print_error("tes simulate", error)
        return 2
    current = b""

    def reader(line: bytes) -> Callable[[], InboundConnection]:
        def read() -> InboundConnection:
            nonlocal current
            current = line
            return read_connection(line)

        return read

    def on_malformed(error: MalformedError) -> None:
        refused.append({"error": str(error), "value": current.decode("utf-8", "replace")})

    now, future = time.time_ns() // 1_000_000, _Future()

    def watched(read: Callable[[], InboundConnection]) -> Callable[[], InboundConnection]:
        def checked() -> InboundConnection:
            connection = read()
            future.note(connection, now)
            return connection

        return checked

    feed = map(watched, map(reader, feed_lines(Path(arguments.feed))))

    def partition_of(tenant_id: str) -> int:
        return kafka_partition(tenant_id.encode(), partitions)

    results = simulate(feed, rulebook, until, on_malformed, commands, partition_of)
    if future.count:
        print_message(f"tes simulate: {future}")
    if until is not None and until < future.latest:
        said = f"must not be before the last event ({future.latest_id!r} at {iso(future.latest)})"
        print_message(f"tes simulate: --until: {iso(until)}: {said}")
        return 2
    audit = [to_record(record) for record in results.audit]
    servers = [to_record(results.servers[key]) for key in sorted(results.servers)]
    verdicts = [to_record(verdict) for verdict in results.verdicts]
    notifications = [to_record(notification) for notification in results.notifications]
    print_message(write_results(out, verdicts, notifications, servers, refused, audit))
    return 0
