"""`tes top`: what the service does now, drawn again each second."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import KafkaError

from streams.cli.messages import print_error
from streams.cli.screen import output_console, plain, plain_console
from streams.domain.time import iso
from streams.kafka.topics import TopicError
from streams.operations.activity import Activity, ActivityWatch, PartitionActivity
from streams.settings.worker import Settings, read_settings
from streams.wire.registry import RegistryError

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table

_ONCE_SECONDS: Final = 1.0
"""Between the two looks of a single picture: a rate needs both."""
_LATE_SECONDS: Final = 90.0
"""A worker gives a sign of life once a minute."""
_LEAST_LINES: Final = 3
_EXIT_TERMINATED: Final = 143


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.description = (
        "Show rates, lag, signs of life, workers and servers by stage, until Ctrl-C. "
        "Without a terminal one picture is printed."
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--once", action="store_true", help="print one picture, and end")
    form.add_argument("--json", action="store_true", help="one picture as one JSON object on stdout")
    parser.add_argument(
        "--interval", type=_seconds, default=1.0, metavar="SECONDS", help="between two pictures (default: %(default)g)"
    )
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3_600:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a number of seconds from 0.1 to 3600")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Draw; exit code 1 when Kafka fails, 2 for wrong settings, 130 after Ctrl-C."""
    try:
        settings = read_settings()
        console = output_console()
        if arguments.once or arguments.json or console is None:
            return asyncio.run(_print_once(arguments, settings, console))
        return asyncio.run(_draw(arguments, settings, console))
    except (ValueError, OSError, KafkaError, TopicError, RegistryError) as error:
        print_error("tes top", error)
        return 2 if isinstance(error, ValueError) else 1


async def _print_once(arguments: argparse.Namespace, settings: Settings, console: Console | None) -> int:
    async with ActivityWatch(settings) as watch:
        await watch.wait_for_servers()
        await watch.look()
        await asyncio.sleep(_ONCE_SECONDS)
        found = await watch.look()
    if arguments.json:
        print(json.dumps(shown(found)))
    else:
        console = console or plain_console(sys.stdout)
        console.print(picture(found, settings, console.width, None))
    return 0


async def _draw(arguments: argparse.Namespace, settings: Settings, console: Console) -> int:
    from rich.live import Live

    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)  # the terminal is put in order before the process ends
    async with ActivityWatch(settings) as watch:
        with Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        ) as live:
            while not ended.is_set():
                found = await watch.look()
                live.update(picture(found, settings, console.width, console.height), refresh=True)
                try:
                    async with asyncio.timeout(arguments.interval):
                        await ended.wait()
                except TimeoutError:
                    continue
    return _EXIT_TERMINATED


def shown(found: Activity) -> dict[str, Any]:
    """A picture as JSON has it."""
    row: dict[str, Any] = dataclasses.asdict(found) | {"at": iso(found.at)}
    for partition, item in zip(row["partitions"], found.partitions, strict=True):
        sign = partition["sign"] = None if item.sign is None else item.sign._asdict()
        if sign is not None:
            for name in ("wall_clock", "stream_time"):
                sign[name] = None if sign[name] is None else iso(sign[name])
    return row


def picture(found: Activity, settings: Settings, width: int, height: int | None) -> Group:
    """What is drawn, in a terminal of this size; all lines with no height."""
    from rich.console import Group
    from rich.text import Text

    head = Text.assemble(
        ("tes top", "bold"), f"  {iso(found.at)[:19]}Z  ", plain(settings.bootstrap), "  ", plain(settings.app_id)
    )
    rates = Text.assemble(
        ("connections ", "bold"), f"{_rate(found.connections_per_second)} in, ",
        f"{_rate(found.processed_per_second)} processed   ",
        ("lag ", "bold"), (f"{found.lag:,}", "yellow" if found.lag else ""), "   ",
        ("verdicts ", "bold"), _rate(found.verdicts_per_second),
    )  # fmt: skip
    servers = sum(found.stages.values())
    by_stage = Text.assemble(
        ("servers ", "bold"), f"{servers:,}" if found.is_complete else f"{servers:,}, reading the rest", "   ",
        ("by stage ", "bold"), *(f"{stage}: {count:,}  " for stage, count in found.stages.items()),
    )  # fmt: skip
    by_status = plain("  ".join(f"{status} {count:,}" for status, count in found.statuses.items()))
    lines = [head, rates, by_stage, by_status]
    used = sum(-(-max(1, line.cell_len) // max(1, width)) for line in lines) + len(lines) + 4
    left = None if height is None else max(2 * _LEAST_LINES, height - used)
    workers = _workers(found, None if left is None else max(_LEAST_LINES, left // 3))
    rest = None if left is None else max(_LEAST_LINES, left - len(workers.rows))
    return Group(*lines, Text(), _partitions(found, rest), Text(), workers)


def _partitions(found: Activity, most: int | None) -> Table:
    rows = list(found.partitions)
    is_cut = most is not None and len(rows) > most
    if is_cut:
        # The worst ones are worth the room.
        rows = sorted(rows, key=lambda item: (item.lag, _age(item)), reverse=True)[: (most or 0) - 1]
    table = _table(("PARTITION", "LAG", "PROCESSED", "SIGN OF LIFE", "WORKER", "POLICY"))
    for item in rows:
        sign = item.sign
        policy = "-" if sign is None else f"{sign.policy_id}/{sign.policy_version}"
        table.add_row(
            str(item.partition),
            plain(f"{item.lag:,}", "yellow" if item.lag else ""),
            _rate(item.per_second),
            plain(_age_text(item), "" if _age(item) < _LATE_SECONDS else "red"),
            plain(item.worker or "none", "" if item.worker else "red"),
            plain(policy),
        )
    if is_cut:
        table.add_row(*[""] * 4, plain(f"and {len(found.partitions) - len(rows)} more"))
    return table


def _workers(found: Activity, most: int | None) -> Table:
    table = _table(("WORKER", "HOST", "VERSION", "PARTITIONS"))
    versions = {item.worker: item.sign.worker_version for item in found.partitions if item.sign}
    shown_workers = found.workers if most is None or len(found.workers) <= most else found.workers[: most - 1]
    for worker in shown_workers:
        numbers = ", ".join(_ranges(worker.partitions)) or "-"
        table.add_row(plain(worker.name), plain(worker.host), plain(versions.get(worker.name, "-")), numbers)
    if not found.workers:
        table.add_row(plain("none runs", "red"))
    elif len(shown_workers) < len(found.workers):
        table.add_row(plain(f"and {len(found.workers) - len(shown_workers)} more"))
    return table


def _table(names: tuple[str, ...]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        is_number = name in ("LAG", "PROCESSED", "PARTITION", "SIGN OF LIFE")
        table.add_column(name, no_wrap=True, overflow="ellipsis", justify="right" if is_number else "left")
    return table


def _rate(per_second: float | None) -> str:
    if per_second is None:
        return "-"
    return f"{per_second:,.0f}/s" if per_second >= 100 or per_second == 0 else f"{per_second:,.1f}/s"


def _age(item: PartitionActivity) -> float:
    return float("inf") if item.sign_age_seconds is None else item.sign_age_seconds


def _age_text(item: PartitionActivity) -> str:
    if item.sign_age_seconds is None:
        return "none"
    seconds = round(item.sign_age_seconds)
    said = f"{seconds} s ago" if seconds < 600 else f"{seconds // 60:,} min ago"
    return said if seconds < _LATE_SECONDS else f"late: {said}"


def _ranges(numbers: tuple[int, ...]) -> Iterator[str]:
    """Numbers in order, as `0-3`, `7`."""
    begin = last = None
    for number in (*numbers, None):
        if last is not None and number == last + 1:
            last = number
            continue
        if begin is not None:
            yield str(begin) if begin == last else f"{begin}-{last}"
        begin = last = number
