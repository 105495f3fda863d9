"""`tes simulate`: a feed through the pure core, in one process and without Kafka."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from streams.cli.catalogue import given_catalogues
from streams.cli.decisions import DecisionFile
from streams.cli.messages import print_error, print_message
from streams.cli.progress import count_lines, progress_bar
from streams.cli.times import TypedTime
from streams.clock import wall_clock_ms
from streams.domain.policy.content import PolicyError
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.server.sighting import check_sighting
from streams.domain.tenant.commands import AdminCommand, check_command
from streams.domain.time import iso
from streams.domain.validation import MAX_AHEAD_MS, MalformedError
from streams.kafka.partitioner import kafka_partition
from streams.operations.progress import Progress
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import simulate
from streams.settings.worker import DEFAULT_POLICY, read_settings
from streams.wire.records import (
    command_of,
    command_record,
    connection_of,
    connection_record,
    in_order_of_issue,
    to_json_line,
    to_record,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `simulate` and `replay` share."""
    parser.add_argument("--feed", required=True, metavar="FILE.jsonl", help="connections, one JSON object per line")
    parser.add_argument("--policy", action="append", metavar="NAME|FILE", help=f"repeatable ({DEFAULT_POLICY})")
    parser.add_argument(
        "--catalogue",
        action="append",
        metavar="FOLDER[@DATE]",
        help="a catalogue in force from then on, default: from the first event; repeatable (default: the built-in one)",
    )
    parser.add_argument("--commands", metavar="FILE.jsonl", help="administrator commands, one JSON object per line")
    parser.add_argument(
        "--until", metavar="DATE", help="date or time at which every clock ends; not before the last record"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the result files")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    add_options(parser)
    parser.add_argument(
        "--decisions",
        action="store_true",
        help="also write decisions.jsonl: what an edge would have answered to each connection, and why",
    )
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
    return checked_connection(connection_record(line))


def checked_connection(record: dict[str, Any], now_ms: int | None = None) -> InboundConnection:
    """The connection of an Avro-shaped record, if a worker takes it; `now_ms` is the wall clock, for live ones.

    Raises:
        MalformedError: names the field, the value and the rule.
    """
    connection = connection_of(record)
    check_sighting(connection, None, now_ms)
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


class FeedEnd:
    """The last record of a feed, and those that a live service would refuse since they are ahead of its clock.

    One that is far ahead must not age all the others: it does not move the end that a run has by default.
    """

    def __init__(self) -> None:
        self.ahead = self._latest = self._end = 0
        self._now = wall_clock_ms()
        self._last = self._first = ""

    def note(self, at: int, field: str, name: str) -> None:
        """Look at a valid record: its moment (UTC milliseconds), the moment's field and what names it."""
        if at > self._latest:
            self._latest, self._last = at, name
        if at > self._now + MAX_AHEAD_MS:
            self._first = self._first or f"{name}, {field} {iso(at)}"
            self.ahead += 1
        else:
            self._end = max(self._end, at)

    def note_connection(self, connection: InboundConnection) -> None:
        """Look at a valid connection."""
        self.note(connection.observed_at, "observed_at", f"event_id {connection.event_id!r}")

    def note_command(self, command: AdminCommand) -> None:
        """Look at a valid command."""
        self.note(command.issued_at, "issued_at", f"command_id {command.command_id!r}")

    @property
    def default_until(self) -> int:
        """Where the clocks end when nobody says: the last record that is not ahead, the last of all when all are."""
        return self._end or self._latest

    def warning(self, until: TypedTime | None) -> str | None:
        """What to say of the records ahead of the clock, if there are any."""
        if not self.ahead:
            return None
        end = f"; clocks end at {iso(self.default_until)}" if until is None else ""
        said = "records are more than five minutes in the future: a live service would dead-letter them"
        return f"{self.ahead} {said}; the first: {self._first}{end}"

    def fault(self, until: TypedTime | None) -> str | None:
        """Why clocks cannot end at `until`, None where they can."""
        if until is None or until.at >= self._latest:
            return None
        return f"{until.name}: {until.text}: must not be before the last record ({self._last} at {iso(self._latest)})"


def scan(feed: Path, commands: str | None) -> FeedEnd:
    """Read a feed and its commands only for their moments.

    Raises:
        OSError: a file cannot be read.
    """
    end = FeedEnd()
    for line in feed_lines(feed):
        with suppress(MalformedError):
            end.note_connection(read_connection(line))
    for command in read_commands(commands)[0]:
        end.note_command(command)
    return end


def run(arguments: argparse.Namespace) -> int:
    """Simulate; exit code 2 for input that cannot be read."""
    out = Path(arguments.out)
    try:
        rulebook = rulebook_of(arguments.policy, arguments.catalogue)
        commands, refused = read_commands(arguments.commands)
        partitions = read_settings().partitions
        until = TypedTime.parse("--until", arguments.until) if arguments.until else None
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

    end = FeedEnd()
    for command in commands:
        end.note_command(command)

    def watched(read: Callable[[], InboundConnection]) -> Callable[[], InboundConnection]:
        def checked() -> InboundConnection:
            connection = read()
            end.note_connection(connection)
            return connection

        return checked

    def counted(lines: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
        for line in lines:
            yield line
            progress.advance()

    def partition_of(tenant_id: str) -> int:
        return kafka_partition(tenant_id.encode(), partitions)

    decisions = DecisionFile(out / "decisions.jsonl") if arguments.decisions else None
    with progress_bar() as progress:
        progress.begin("connections", count_lines(Path(arguments.feed)))
        results = simulate(
            map(watched, map(reader, counted(feed_lines(Path(arguments.feed)), progress))),
            rulebook,
            until.at if until else None,
            on_malformed,
            commands,
            partition_of,
            lambda: end.default_until,
            None if decisions is None else decisions.add,
        )
    if warning := end.warning(until):
        print_message(f"tes simulate: {warning}")
    if fault := end.fault(until):
        print_message(f"tes simulate: {fault}")
        return 2
    audit = [to_record(record) for record in results.audit]
    servers = [to_record(results.servers[key]) for key in sorted(results.servers)]
    verdicts = [to_record(verdict) for verdict in results.verdicts]
    notifications = [to_record(notification) for notification in results.notifications]
    print_message(write_results(out, verdicts, notifications, servers, refused, audit))
    if decisions is not None:
        print_message(decisions.close())
    return 0
