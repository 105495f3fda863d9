"""`scripts/bench notify`: how many notices the sender of `tes notify` delivers on one core, and how long they take.

Some destinations are dead and some are slow all the while. Records come from memory, and the recorder writes them into
the ledger as the process does with those of its topic. The sender has a core to itself; recorder, receivers and
PostgreSQL share the others. Grouping is set off by a threshold that nothing reaches: each notice is one message.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import func, select

from benchmarks.environment import CACHE_DIR, COMMITTED_DIR, REPOSITORY, machine
from benchmarks.measure import cpu_seconds
from benchmarks.notify_receiver import DEAD_DOMAIN, HANGING, SLOW
from benchmarks.profiling import profiled
from streams.clock import wall_clock_ms
from streams.database.database import ALL_TENANTS, Database
from streams.notices.destinations import SENT, confirm, create_destination
from streams.notices.facts import begin
from streams.notices.model import DestinationKind, OutcomeKind, Subscription
from streams.notices.opening import open_ledger
from streams.notices.subscriptions import create_subscription
from streams.notices.tables import ATTEMPT, DELIVERY
from streams.notify.notice import Notice, notice_of
from streams.notify.recording import Batch, Recorder
from streams.settings.notify import NotifySettings
from tests.support.notices import PLACE, SOURCE, notification
from tests.support.postgresql import running_postgresql

NOTICES, DESTINATIONS, RATE, SECONDS = 100_000, 2_000, 200, 60
ROOMS: Final = ("sqlite", "postgresql")
KINDS: Final = {"webhook": DestinationKind.WEBHOOK, "mail": DestinationKind.MAIL}
GROUP_ABOVE: Final = 1_000_000_000
AT_ONCE: Final = 500
"""Notices that are written in one transaction, as many as a fetch may bring."""
STEP_SECONDS: Final = 0.05
"""Between two transactions where notices come at a rate."""
STALLED_SECONDS: Final = 60.0
"""A run is over when nothing has come for so long."""
HEALTHY, SLOWLY, REFUSING, HANGS = "healthy", "slow", "refuses", "hangs"
_ILL: Final = {0: SLOWLY, 1: REFUSING, 20: SLOWLY, 21: HANGS}
"""Of 40 destinations: one in 20 is slow and one in 20 dead, half of those refuse connections, half never answer."""
_PERIOD: Final = 40


def say(text: str) -> None:
    """One line of what is going on."""
    print(f"bench: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@dataclass(slots=True)
class Book:
    """What the receivers wrote down: when each message came, in order."""

    path: Path
    came: dict[str, list[int]] = field(default_factory=dict)
    _at: int = 0

    def read(self) -> None:
        """Read on."""
        with self.path.open("rb") as file:
            file.seek(self._at)
            whole = file.read().rpartition(b"\n")[0]
        self._at += len(whole) + bool(whole)
        for line in whole.decode().splitlines():
            message_id, _, at = line.partition(" ")
            self.came.setdefault(message_id, []).append(int(at))


class Ports(NamedTuple):
    """Where webhooks are answered and where they are refused."""

    web: int
    closed: int

    def address(self, number: int, kind: DestinationKind, health: str) -> str:
        """Where a destination is."""
        is_dead = health in (REFUSING, HANGS)
        if kind is DestinationKind.MAIL:
            return f"admin{number}@{DEAD_DOMAIN if is_dead else 'contoso.example'}"
        port = self.closed if health == REFUSING else self.web
        path = {SLOWLY: SLOW, HANGS: HANGING}.get(health, "/hook")
        return f"http://127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}:{port}{path}"


class Ends:
    """The receivers' process."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        command = [sys.executable, "-m", "benchmarks.notify_receiver", str(path)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        web, self.mail_port = map(int, self._process.stdout.readline().split())
        self.book = Book(path)
        # Bound and not listening: whoever connects is refused, and nobody else gets the port.
        self._closed = socket.socket()
        self._closed.bind(("0.0.0.0", 0))
        self.ports = Ports(web, self._closed.getsockname()[1])

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(30)
        self._closed.close()


def health_of(number: int, kind: DestinationKind) -> str:
    """How a destination of a number is. A relay takes mail at once, whatever its recipient does: none is slow."""
    health = _ILL.get(number % _PERIOD, HEALTHY)
    return HEALTHY if kind is DestinationKind.MAIL and health == SLOWLY else health


def add_destinations(database: Database, ports: Ports, kind: DestinationKind, count: int) -> dict[str, str]:
    """Make destinations, each the only one of its tenant, subscribed to everything at once; returns health by id."""
    made, now = {}, wall_clock_ms()
    with database.writing() as connection:
        for number in range(count):
            health, tenant = health_of(number, kind), f"tenant-{number}"
            about = {"name": f"Admins {number}", "address": ports.address(number, kind, health)}
            one = create_destination(connection, tenant=tenant, kind=kind, now=now, created_by="bench", **about)
            confirm(connection, tenant, one.destination_id, now)
            create_subscription(connection, Subscription(tenant, "", one.destination_id), now, "bench")
            made[one.destination_id] = health
    return made


class Source:
    """Notices from memory, to one tenant after the other, and the recorder that writes them."""

    def __init__(self, database: Database, tenants: int) -> None:
        self._recorder = Recorder(database, lambda _: (), GROUP_ABOVE, wall_clock_ms, lambda _: None)
        self._template, self._tenants, self.offset = notification(0), cycle(range(tenants)), 0

    def write(self, count: int) -> None:
        """Write so many now, in one transaction."""
        notices = [self._notice() for _ in range(count)]
        batch = Batch({PLACE.topic: SOURCE}, {PLACE: self.offset - count}, {PLACE: self.offset}, notices)
        self._recorder.write(batch, is_behind=False)

    def _notice(self) -> Notice:
        now, number, tenant = wall_clock_ms(), self.offset, next(self._tenants)
        self.offset += 1
        server = f"mx{number}.tenant-{tenant}.example"
        about = {"notification_id": f"n{number:08}", "tenant_id": f"tenant-{tenant}", "server": server}
        record = self._template | about | {"occurred_at": now, "text": f"Mail of {server} is delayed."}
        return notice_of(PLACE, number, now, record)


def _environment(settings: NotifySettings) -> dict[str, str]:
    where = {"TES_REPORT_DATABASE": settings.database} if settings.database else {"TES_REPORT_DIR": settings.directory}
    return {
        **os.environ,
        **where,
        "TES_NOTIFY_ALLOWED_NETWORKS": ",".join(settings.allowed_networks),
        "TES_REPORT_PUBLIC_URL": settings.public_url,
        "TES_NOTIFY_SMTP_HOST": settings.smtp_host,
        "TES_NOTIFY_SMTP_PORT": str(settings.smtp_port),
        "TES_NOTIFY_SMTP_TLS": settings.smtp_tls,
        "TES_NOTIFY_MAIL_FROM": settings.mail_from,
    }


class SenderProcess:
    """The sender, ready to begin."""

    def __init__(self, settings: NotifySettings, core: int) -> None:
        command = [sys.executable, "-m", "benchmarks.notify_sender", str(core), str(GROUP_ABOVE)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=_environment(settings), **pipes)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("the sender did not start")
        self.pid = self._process.pid

    def begin(self) -> None:
        """Let it send."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def resident_mib(self) -> float:
        """Resident memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return round(pages * resource.getpagesize() / 2**20, 1)

    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it as a stop does: what is under way ends."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


def deliveries(database: Database) -> Sequence[Any]:
    """What the ledger says of each notice."""
    columns = DELIVERY.c
    asked = select(columns.destination_id, columns.message_id, columns.notification_id, columns.state, columns.ended_at)
    with database.reading(ALL_TENANTS) as connection:
        return connection.execute(asked).all()


def failed_attempts(database: Database) -> Counter[str]:
    """How often each message was sent without an answer that says that it arrived."""
    failed = select(ATTEMPT.c.message_id, func.count()).where(ATTEMPT.c.outcome != OutcomeKind.DELIVERED)
    with database.reading(ALL_TENANTS) as connection:
        return Counter({row[0]: row[1] for row in connection.execute(failed.group_by(ATTEMPT.c.message_id))})


@dataclass(slots=True)
class Run:
    """Everything that takes part in one run."""

    database: Database
    source: Source
    sender: SenderProcess
    book: Book
    health: dict[str, str]

    def wait_for(self, count: int) -> None:
        """Wait until so many notices to healthy destinations have come.

        Raises:
            RuntimeError: nothing comes any more, or the sender has ended.
        """
        changed_at, known, since = time.monotonic(), 0, 0
        while True:
            self.book.read()
            if len(self.book.came) >= count + since:
                found = self._came()
                if found >= count:
                    return
                since = len(self.book.came) - found
            if len(self.book.came) != known:
                changed_at, known = time.monotonic(), len(self.book.came)
            if not self.sender.is_running() or time.monotonic() - changed_at > STALLED_SECONDS:
                raise RuntimeError(f"{self._came()} of {count} notices came, and no more do")
            time.sleep(0.2)

    def _came(self) -> int:
        return sum(row.message_id in self.book.came for row in deliveries(self.database) if self._is_healthy(row))

    def _is_healthy(self, row: Any) -> bool:
        return self.health[row.destination_id] == HEALTHY

    def flood(self, count: int) -> dict[str, Any]:
        """Write notices as fast as it goes, then have them sent."""
        began = time.perf_counter()
        for begin_at in range(0, count, AT_ONCE):
            self.source.write(min(AT_ONCE, count - begin_at))
        seconds = time.perf_counter() - began
        is_for_healthy = [self.health[one] == HEALTHY for one in self.health]
        healthy = sum(islice(cycle(is_for_healthy), count))
        cpu, memory = cpu_seconds(self.sender.pid), self.sender.resident_mib()
        self.sender.begin()
        self.wait_for(healthy)
        cpu = cpu_seconds(self.sender.pid) - cpu
        came = sorted(at for moments in self.book.came.values() for at in moments)
        # The first and the last twentieth are the start, and what waits for the last of a few lanes.
        first, last = came[len(came) // 20], came[len(came) * 19 // 20]
        rate = len(came) * 0.9 / (max(1, last - first) / 1000)
        return {
            "recorded_per_second": round(count / seconds),
            "deliveries_per_second": round(rate),
            "cpu_us_per_delivery": round(cpu / len(came) * 1e6),
            "deliveries_per_cpu_second": round(len(came) / cpu),
            "resident_mib_at_begin": memory,
            "resident_mib_between": self.sender.resident_mib(),
        }

    def steady(self, rate: int, seconds: int) -> dict[str, Any]:
        """Write notices at a rate; how long those to healthy destinations take."""
        first, began = self.source.offset, time.monotonic()
        starts: dict[str, int] = {}
        while (passed := time.monotonic() - began) < seconds:
            due = first + round(passed * rate) - self.source.offset
            if due > 0:
                at = wall_clock_ms()
                starts |= {f"n{number:08}": at for number in range(self.source.offset, self.source.offset + due)}
                self.source.write(due)
            time.sleep(STEP_SECONDS)
        wanted = islice(cycle([self.health[one] == HEALTHY for one in self.health]), self.source.offset)
        self.wait_for(sum(wanted))
        took = sorted(
            self.book.came[row.message_id][0] - starts[row.notification_id]
            for row in deliveries(self.database)
            if row.notification_id in starts and self._is_healthy(row)
        )
        return {
            "rate": round((self.source.offset - first) / seconds),
            "p50_ms": took[len(took) // 2],
            "p99_ms": took[len(took) * 99 // 100],
            "longest_ms": took[-1],
        }


def balance(
    database: Database, recorded: int, came: Mapping[str, Sequence[int]], health: Mapping[str, str]
) -> dict[str, Any]:
    """What became of everything that was recorded; `came` has the moments by message, `health` is of destinations."""
    rows = deliveries(database)
    lost = sum(row.state == SENT and row.message_id not in came for row in rows)
    lost += sum(row.state != SENT and row.ended_at is not None for row in rows) + recorded - len(rows)
    waits = Counter(health[row.destination_id] for row in rows if row.ended_at is None)
    again = {one: len(moments) - 1 for one, moments in came.items() if len(moments) > 1}
    failed = failed_attempts(database)
    late = sum(min(count, failed[one]) for one, count in again.items())
    duplicates = {"duplicates": sum(again.values()), "answered_too_late": late}
    return {"lost": lost, **duplicates, "waiting": dict(sorted(waits.items()))}


def measure(
    settings: NotifySettings, ends: Ends, kind: DestinationKind, arguments: argparse.Namespace, stacks: Path | None
) -> dict[str, Any]:
    """One run on an empty ledger."""
    database = open_ledger(settings)
    database.migrate()
    begin(database, wall_clock_ms())
    health = add_destinations(database, ends.ports, kind, arguments.destinations)
    sender = SenderProcess(settings, min(os.sched_getaffinity(0) | arguments.cores))
    run = Run(database, Source(database, arguments.destinations), sender, ends.book, health)
    try:
        with ExitStack() as stack:
            if stacks is not None:
                stack.enter_context(profiled(stacks, False, sender.pid))
            found = run.flood(arguments.notices)
        say(json.dumps(found))
        found |= run.steady(arguments.rate, arguments.seconds)
        found["resident_mib_at_end"] = sender.resident_mib()
    finally:
        sender.close()
    ends.book.read()
    found |= balance(database, run.source.offset, ends.book.came, health)
    database.close()
    say(json.dumps(found))
    return found


@contextmanager
def rooms(folder: Path, wanted: Sequence[str]) -> Iterator[dict[str, Callable[[], dict[str, str]]]]:
    """Where empty ledgers are, others each time."""
    number = iter(range(100))
    made: dict[str, Callable[[], dict[str, str]]] = {"sqlite": lambda: {"directory": str(folder / str(next(number)))}}
    with ExitStack() as stack:
        if "postgresql" in wanted:
            server = stack.enter_context(running_postgresql(is_durable=True))
            made["postgresql"] = lambda: {"database": server.make_database()}
        yield {name: made[name] for name in wanted}


def measure_all(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Every channel on every database."""
    folder = CACHE_DIR / "notify"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    runs = []
    arguments.cores = os.sched_getaffinity(0)
    # What is started from here on is started there too; the sender moves to the first core.
    os.sched_setaffinity(0, arguments.cores - {min(arguments.cores)} or arguments.cores)
    try:
        with rooms(folder, arguments.databases) as found:
            for room, make in found.items():
                for channel in arguments.channels:
                    say(f"{channel} from {room}")
                    ends = Ends(folder / f"{room}-{channel}.txt")
                    settings = NotifySettings(
                        **make(),  # type: ignore[arg-type]
                        allowed_networks=("127.0.0.0/8",),
                        public_url="https://report.example",
                        smtp_host="127.0.0.1",
                        smtp_port=ends.mail_port,
                        smtp_tls="none",
                        mail_from="tes@contoso.example",
                    )
                    stacks = folder / f"{room}-{channel}.stacks" if arguments.profile else None
                    try:
                        row = measure(settings, ends, KINDS[channel], arguments, stacks)
                    finally:
                        ends.close()
                    runs.append({"database": room, "channel": channel, **row})
    finally:
        os.sched_setaffinity(0, arguments.cores)
    return runs


_COLUMNS: Final = {
    "database": "database",
    "channel": "channel",
    "recorded_per_second": "recorded/s",
    "deliveries_per_second": "deliveries/s",
    "cpu_us_per_delivery": "CPU µs a delivery",
    "deliveries_per_cpu_second": "deliveries a CPU second",
    "rate": "steady: notices/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "longest_ms": "longest ms",
    "lost": "lost",
    "duplicates": "duplicates",
    "answered_too_late": "answered too late",
    "waiting": "waiting",
    "resident_mib_at_begin": "RSS MiB at begin",
    "resident_mib_between": "after what waited",
    "resident_mib_at_end": "at end",
}


def document(about: dict[str, Any], runs: Sequence[dict[str, Any]]) -> str:
    """The report."""
    rows = [list(_COLUMNS.values()), ["---"] * len(_COLUMNS)]
    for run in runs:
        waiting = ", ".join(f"{count:,} {health}" for health, count in run["waiting"].items())
        shown = {name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in run.items()}
        rows.append([(shown | {"waiting": waiting or "0"})[name] for name in _COLUMNS])
    table = "".join("| " + " | ".join(cells) + " |\n" for cells in rows)
    return (
        f"# Notices, {about['date']}\n\n`{about['command']}` on {json.dumps(about['machine'])}.\n\n"
        f"{about['notices']:,} notices that wait at the start, then some at a rate, to {about['destinations']:,} "
        f"destinations.\nWhat the columns mean: [README.md](README.md#notices).\n\n{table}"
    )


def _some(allowed: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        found = tuple(text.split(","))
        if not set(found) <= set(allowed):
            raise argparse.ArgumentTypeError(f"{text!r}: must be some of {', '.join(allowed)}")
        return found

    return parse


def main(argv: list[str]) -> int:
    """Measure, write the report and print it; exit code 1 where a notice was lost."""
    parser = argparse.ArgumentParser(prog="scripts/bench notify", description=__doc__)
    add = parser.add_argument
    add("--notices", type=int, default=NOTICES, metavar="N", help="that wait at the start (%(default)s)")
    add("--destinations", type=int, default=DESTINATIONS, metavar="N", help="destinations (%(default)s)")
    add("--rate", type=int, default=RATE, metavar="N", help="notices a second after that (%(default)s)")
    add("--seconds", type=int, default=SECONDS, metavar="N", help="for how long (%(default)s)")
    add("--databases", type=_some(ROOMS), default=ROOMS, metavar="A,B", help="some of sqlite,postgresql (both)")
    add("--channels", type=_some(tuple(KINDS)), default=tuple(KINDS), metavar="A,B", help="some of webhook,mail (both)")
    add("--profile", action="store_true", help="write the sender's stacks beside, while it sends what waits")
    add("--out", type=Path, metavar="DIR", help="where the report goes")
    arguments = parser.parse_args(argv)
    about = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": shlex.join(["scripts/bench", "notify", *argv]),
        "notices": arguments.notices,
        "destinations": arguments.destinations,
        "machine": machine(),
    }
    runs = measure_all(arguments)
    out = arguments.out or (REPOSITORY / "results" / "bench" if argv else COMMITTED_DIR)
    out.mkdir(parents=True, exist_ok=True)
    text = document(about, runs)
    (out / f"notify-{about['date']}.md").write_text(text, encoding="utf-8")
    (out / f"notify-{about['date']}.json").write_text(json.dumps(about | {"runs": runs}, indent=1) + "\n")
    print(text)
    return 1 if any(run["lost"] for run in runs) else 0
