"""`tes emit`: connections from a file or a pipe to their topic, for trials.

A file is checked whole before anything is sent. Of a pipe nobody knows the end: what is in front of a bad line is sent,
nothing behind it, and the error says how much that was.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import CancelledError
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import orjson
from aiokafka.errors import KafkaError

from streams.cli.messages import print_error, print_message
from streams.cli.progress import count_lines, progress_bar
from streams.cli.simulate import checked_connection
from streams.cli.times import TypedTime
from streams.clock import wall_clock_ms
from streams.domain.validation import MalformedError
from streams.kafka.reader import partitions_of
from streams.kafka.security import cluster_of
from streams.kafka.topics import TopicError
from streams.operations.feeds import FeedSender
from streams.operations.progress import Progress
from streams.settings.worker import Settings, read_settings
from streams.wire.records import connection_record
from streams.wire.registry import RegistryError

_STDIN: Final = 0
_CHUNK_BYTES: Final = 1 << 16
_LONGEST_LINE: Final = 1 << 25
"""Twice of what a topic takes: a pipe without line ends must not fill the memory."""
_SHOWN_ERRORS: Final = 20
_TOPIC: Final = "inbound_connection"
Line = tuple[int, bytes]
"""A line that holds something, and its number in the file."""


class LineError(ValueError):
    """A line that is no connection; the message names line, field, value and rule."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.description = (
        "Send connections to their topic, for trials: one JSON object per line. A file is checked whole before "
        "anything is sent. From a pipe, connections are sent as they come, up to the first bad line."
    )
    parser.epilog = "exit codes: 0 all sent; 1 Kafka failed; 2 a bad line, or unreadable input"
    parser.add_argument("file", metavar="FILE", help="connections, one JSON object per line; - is stdin")
    parser.add_argument("--dry-run", action="store_true", help="only check the lines; no Kafka is used")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Send; exit code 0 all sent, 1 Kafka failed, 2 a bad line or unreadable input."""
    try:
        settings = read_settings()
        count = None
        is_pipe = arguments.file == "-" or not Path(arguments.file).is_file()
        if Path(arguments.file).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), arguments.file)
        if is_pipe:
            descriptor = _STDIN if arguments.file == "-" else os.open(arguments.file, os.O_RDONLY)
            lines = _lines_of_pipe(descriptor)
        else:
            if _has_errors(Path(arguments.file)):
                return 2
            lines = _lines_of_file(Path(arguments.file))
            count = count_lines(Path(arguments.file))
    except (OSError, ValueError) as error:
        print_error("tes emit", error)
        return 2
    with progress_bar() as progress:
        progress.begin("connections", count)
        return asyncio.run(_check(lines, progress) if arguments.dry_run else _send(settings, lines, progress))


def read_line(line: Line, now_ms: int) -> dict[str, Any]:
    """The Avro-shaped record of a line, if a worker takes it; `now_ms` is the wall clock.

    Raises:
        LineError: it does not; a time is quoted as it stands in the line.
    """
    number, text = line
    try:
        record = connection_record(text)
        checked_connection(record, now_ms)
    except MalformedError as error:
        said = str(error).removeprefix("line: ")
        if said.startswith("observed_at: ") and "more than 5 minutes ahead of the clock" in said:
            said = said.partition(" (")[0]
        with suppress(ValueError, KeyError, TypeError):
            said = TypedTime.parse("observed_at", orjson.loads(text)["observed_at"]).quote(said)
        raise LineError(f"line {number}: {said}") from None
    return record


def _has_errors(path: Path) -> bool:
    """Check every line of a file, and say what is wrong with the first ones that are."""
    wrong = valid = 0
    for line in _numbered(path):
        try:
            read_line(line, wall_clock_ms())
        except LineError as error:
            wrong += 1
            if wrong <= _SHOWN_ERRORS:
                print_message(f"tes emit: {error}")
        else:
            valid += 1
    if wrong > _SHOWN_ERRORS:
        print_message(f"tes emit: and {wrong - _SHOWN_ERRORS} more bad lines")
    if wrong:
        print_message(f"tes emit: {wrong} of {wrong + valid} lines are bad: nothing was sent")
    return wrong > 0


async def _check(lines: AsyncIterator[Line], progress: Progress) -> int:
    count = 0
    try:
        async for line in lines:
            read_line(line, wall_clock_ms())
            count += 1
            progress.advance()
    except LineError as error:
        print_error("tes emit", error)
        return 2
    print_message(f"tes emit: {count} connections are valid; nothing was sent")
    return 0


async def _send(settings: Settings, lines: AsyncIterator[Line], progress: Progress) -> int:
    sender = FeedSender(settings, _TOPIC)
    number, code, said = 0, 0, ""
    try:
        await partitions_of(cluster_of(settings), sender.topic)  # a producer would wait for a topic that does not exist
        async with sender:
            async for line in lines:
                await sender.send(read_line(line, wall_clock_ms()))
                number = line[0]
                progress.advance()
            await sender.flush()
    except LineError as error:
        code, said = 2, str(error)
    except (KafkaError, TopicError, RegistryError, OSError) as error:
        code, said = 1, f"{type(error).__name__}: {error}"
    finally:
        # Whatever ends it: who sends the rest has to know where it begins.
        where = f", up to line {number}" if code == 2 and number else ""
        print_message(f"tes emit: {sender.sent} connections sent to {sender.topic}{where}")
    if said:
        print_message(f"tes emit: {said}")
    return code


def _numbered(path: Path) -> Iterator[Line]:
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            if text.strip():
                yield number, text.rstrip(b"\r\n")


async def _lines_of_file(path: Path) -> AsyncIterator[Line]:
    with closing(_numbered(path)) as lines:  # type: ignore[type-var]
        for line in lines:
            yield line


async def _lines_of_pipe(descriptor: int) -> AsyncIterator[Line]:
    """The lines as they come: a thread of its own reads, so that what was sent before is written meanwhile.

    It is a daemon, and reads from the descriptor itself: Ctrl-C need not wait for the next line.
    """
    loop, chunks = asyncio.get_running_loop(), asyncio.Queue[bytes | OSError](1)

    def read() -> None:
        chunk: bytes | OSError = b"-"
        while chunk and not isinstance(chunk, OSError):
            try:
                chunk = os.read(descriptor, _CHUNK_BYTES)
            except OSError as error:
                chunk = error
            handing_on = chunks.put(chunk)
            try:
                asyncio.run_coroutine_threadsafe(handing_on, loop).result()
            except (RuntimeError, CancelledError):  # the loop is closed: nobody wants it any more
                handing_on.close()
                return

    threading.Thread(target=read, daemon=True, name="stdin").start()
    number, parts = 0, list[bytes]()
    while chunk := await chunks.get():
        if isinstance(chunk, OSError):
            raise LineError(f"line {number + 1}: {chunk.strerror}")
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            number += 1
            text = b"".join([*parts, end]).rstrip(b"\r")
            parts.clear()
            if text.strip():
                yield number, text
        parts.append(rest)
        if sum(map(len, parts)) > _LONGEST_LINE:
            raise LineError(f"line {number + 1}: is longer than {_LONGEST_LINE} bytes")
    if (text := b"".join(parts)).strip():
        yield number + 1, text
