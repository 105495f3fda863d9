"""Dead letters as an operator sees them, and what becomes of them.

A letter is known by the record that it holds: topic, partition, offset and timestamp of its source. `DEAD_LETTER_LOG`
has a row for each letter that was replayed or discarded. The row is written in the transaction that writes the record
back, by a producer whose start fences any other, so that no letter is replayed twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import orjson
from aiokafka import TopicPartition

from streams.clock import wall_clock_ms
from streams.engine.dead_letters import BATCH, ERROR, LEFT_OUT, OFFSET, PARTITION, SIZE, TIMESTAMP, TOPIC
from streams.kafka.batch_producer import Batches, producer_of
from streams.kafka.follower import KafkaLog
from streams.kafka.partitioner import kafka_partition
from streams.kafka.reader import partitions_of, read_partitions
from streams.kafka.record import Headers
from streams.kafka.security import cluster_of
from streams.kafka.table import read_table
from streams.kafka.topics import DEAD_LETTER_LOG, DEAD_LETTER_SUFFIX, TOPICS
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings

INPUTS = {"connections": "inbound_connection", "commands": "admin_command"}
"""The inputs by the names that operators use."""
REPLAY_OF = "tes.replay-of"
"""Header of a record that was replayed: its dead letter, as `connections/2/15`."""
_ORIGIN = (ERROR, TOPIC, PARTITION, OFFSET, TIMESTAMP)


class DeadLetterError(ValueError):
    """A dead letter that does not exist, or with which this cannot be done; the message names it."""


class DispositionKind(StrEnum):
    """What became of a letter."""

    REPLAYED = "REPLAYED"
    DISCARDED = "DISCARDED"


@dataclass(frozen=True, slots=True)
class Disposition:
    """What became of a letter, when (UTC milliseconds), by whom and why."""

    action: DispositionKind
    at: int
    by: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter: where it lies, when it was written, and the record that it holds.

    `flaw` says why the record cannot be written back; `row` names the letter among those handled; `is_batch` is whether
    the value is a whole batch of records as the broker stored it.
    """

    input: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    error: str
    origin: dict[str, str]
    unreplayable_reason: str | None
    row: bytes
    handled: Disposition | None = None
    is_batch: bool = False

    @property
    def position(self) -> str:
        """How an operator names it."""
        return f"{self.input}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which letters: those at `places` or, where it is empty, all that fit the rest."""

    places: tuple[tuple[str, int, int], ...] = ()
    inputs: tuple[str, ...] = tuple(INPUTS)
    error: str = ""
    tenant: str | None = None
    since: int = 0
    with_handled: bool = False

    def matches(self, letter: DeadLetter) -> bool:
        """Whether a letter is wanted."""
        if self.places:
            return (letter.input, letter.partition, letter.offset) in self.places
        return (
            self.error.lower() in letter.error.lower()
            and self.tenant in (None, (letter.key or b"").decode("utf-8", "replace"))
            and letter.timestamp >= self.since
            and (self.with_handled or letter.handled is None)
        )


@dataclass(slots=True)
class RedriveResult:
    """The letters that were handled, and those that were not, each with the reason; without the values."""

    done: list[DeadLetter] = field(default_factory=list)
    refused: list[tuple[DeadLetter, str]] = field(default_factory=list)


def parse_place(text: str) -> tuple[str, int, int]:
    """The input, partition and offset of a letter.

    Raises:
        DeadLetterError: the text names none.
    """
    name, _, rest = text.partition("/")
    partition, _, offset = rest.partition("/")
    if name not in INPUTS or not (partition.isdecimal() and offset.isdecimal()):
        inputs = " or ".join(INPUTS)
        raise DeadLetterError(
            f"letter: {text!r}: must be INPUT/PARTITION/OFFSET as connections/2/15; INPUT is {inputs}"
        )
    return name, int(partition), int(offset)


def parse_dead_letter(name: str, record: Any, handled: dict[bytes, Disposition] | None = None) -> DeadLetter:
    """The letter that a record of a dead-letter topic is."""
    headers = tuple(record.headers)
    own, size, batch, left_out = headers, None, None, None
    if own and own[-1][0] == SIZE:
        own, size = own[:-1], own[-1][1].decode("utf-8", "replace")
    if own and own[-1][0] == LEFT_OUT:
        own, left_out = own[:-1], own[-1][1].decode("utf-8", "replace")
    if own and own[-1][0] == BATCH:
        own, batch = own[:-1], own[-1][1].decode("utf-8", "replace")
    about = own[-len(_ORIGIN) :]
    is_known = tuple(header for header, _ in about) == _ORIGIN
    texts = {header: text.decode("utf-8", "replace") for header, text in about} if is_known else {}
    unreplayable_reason = None
    if not is_known:
        unreplayable_reason = "its headers do not name its source"
    elif batch is not None:
        unreplayable_reason = f"it holds an unreadable batch of records: {batch}"
    elif left_out is not None:
        unreplayable_reason = f"it lacks parts that were too large: {left_out}"
    elif size is not None:
        unreplayable_reason = f"its value is truncated to {len(record.value)} of {size} bytes"
    where = f"{record.topic}/{record.partition}/{record.offset}@{record.timestamp}"
    row = "/".join((texts[TOPIC], texts[PARTITION], f"{texts[OFFSET]}@{texts[TIMESTAMP]}")) if is_known else where
    return DeadLetter(
        input=name,
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        key=record.key,
        value=record.value,
        headers=own[: -len(_ORIGIN)] if is_known else headers,
        error=texts.get(ERROR, ""),
        origin={header: texts[header] for header in _ORIGIN[1:]} if is_known else {},
        unreplayable_reason=unreplayable_reason,
        row=row.encode(),
        handled=(handled or {}).get(row.encode()),
        is_batch=batch is not None,
    )


def packed_disposition(disposition: Disposition) -> bytes:
    """The value of a letter's row in `DEAD_LETTER_LOG`."""
    return orjson.dumps(disposition)


async def read_letters(settings: Settings | ReportSettings, wanted: DeadLetterFilter) -> AsyncIterator[DeadLetter]:
    """The wanted letters as they are now, by topic.

    Raises:
        TopicError: a topic does not exist.
    """
    handled = await _read_handled(settings)
    for name in dict.fromkeys(position[0] for position in wanted.places) or wanted.inputs:
        topic = settings.topic(TOPICS[INPUTS[name]]) + DEAD_LETTER_SUFFIX
        partitions = (await partitions_of(cluster_of(settings), topic))[topic]
        starts: dict[TopicPartition, int | None] = dict.fromkeys(partitions)
        if wanted.places:
            places = [position for position in wanted.places if position[0] == name]
            starts = {
                one: min(offset for _, partition, offset in places if partition == one.partition)
                for one in partitions
                if any(partition == one.partition for _, partition, _ in places)
            }
        if not starts:
            continue
        async for record in read_partitions(cluster_of(settings), starts):
            letter = parse_dead_letter(name, record, handled)
            if wanted.matches(letter):
                yield letter


async def handle(
    settings: Settings,
    wanted: DeadLetterFilter,
    action: DispositionKind,
    by: str,
    reason: str | None = None,
    is_dry: bool = False,
) -> RedriveResult:
    """Replay or discard the wanted letters; a dry run only says which.

    Raises:
        DeadLetterError: a letter that is named does not exist.
        TopicError: a topic does not exist.
        KafkaError: a transaction failed; what was handled before stays handled, and nothing is handled by half.
    """
    outcome, rows = RedriveResult(), set[bytes]()
    counts = {
        name: len((await partitions_of(cluster_of(settings), topic))[topic])
        for name, topic in ((name, settings.topic(TOPICS[schema])) for name, schema in INPUTS.items())
    }
    async with producer_of(settings, f"{settings.app_id}-dead-letters") as producer:
        # Only after the producer has fenced any other is it known what that one has handled.
        batches = Batches(producer)
        async for letter in read_letters(settings, wanted):
            unreplayable_reason = letter.unreplayable_reason if action is DispositionKind.REPLAYED else None
            if letter.handled is not None:
                unreplayable_reason = f"is already {letter.handled.action}"
            elif letter.row in rows:
                unreplayable_reason = "holds the same record as an earlier letter"
            if unreplayable_reason is not None:
                outcome.refused.append((replace(letter, value=None), unreplayable_reason))
                continue
            rows.add(letter.row)
            outcome.done.append(replace(letter, value=None))
            if is_dry:
                continue
            if action is DispositionKind.REPLAYED:
                _write_back(settings, batches, letter, counts[letter.input])
            disposition = packed_disposition(Disposition(action, wall_clock_ms(), by, reason))
            batches.add(settings.topic(DEAD_LETTER_LOG), letter.row, disposition)
            await batches.commit_if_full()
        await batches.commit()
    found = {(letter.input, letter.partition, letter.offset) for letter in outcome.done}
    found |= {(letter.input, letter.partition, letter.offset) for letter, _ in outcome.refused}
    for position in wanted.places:
        if position not in found:
            raise DeadLetterError(f"letter: {'/'.join(map(str, position))}: does not exist")
    return outcome


def _write_back(settings: Settings, batches: Batches, letter: DeadLetter, partitions: int) -> None:
    topic = settings.topic(TOPICS[INPUTS[letter.input]])
    if letter.key is not None:
        partition = kafka_partition(letter.key, partitions)
    else:
        partition = int(letter.origin[PARTITION]) % partitions
    headers = (*letter.headers, (REPLAY_OF, letter.position.encode()))
    batches.add(topic, letter.key, letter.value, partition, headers)


async def _read_handled(settings: Settings | ReportSettings) -> dict[bytes, Disposition]:
    return await read_table(KafkaLog(cluster_of(settings), [settings.topic(DEAD_LETTER_LOG)]), _parse_disposition)


def _parse_disposition(value: bytes) -> Disposition:
    content = orjson.loads(value)
    return Disposition(**content | {"action": DispositionKind(content["action"])})
