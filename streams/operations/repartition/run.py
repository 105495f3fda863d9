"""Moves a stopped service to topics with another number of partitions, no tenant's state split.

Everything goes to new topics, under another prefix: the rows of the state, the inputs that the state has not seen, and
the outputs, each to the partition of its key. The old topics are only read. A ledger topic beside the new ones has the
plan, and for each move the place that it has reached, written in the transaction that moves the records. So a run that
was cut off goes on where it ended, whatever ended it, and two runs at once fence each other.

The new changelog says `unfinished` in place of its format until everything is moved and verified.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError

from streams.engine.partition import state_format
from streams.kafka.batch_producer import Batches, producer_of
from streams.kafka.follower import KafkaLog
from streams.kafka.provisioning import BROKERS_TIME, create_missing, delete_topics
from streams.kafka.reader import existing_partitions, extents_of
from streams.kafka.security import cluster_of
from streams.kafka.table import read_table
from streams.kafka.topics import TopicError
from streams.operations.backup.create import MARKERS
from streams.operations.backup.restore import UNFINISHED
from streams.operations.group import (
    CHANGELOG,
    INPUTS,
    SIGNS,
    ProductTopic,
    TopicContentError,
    commit_offsets,
    create_and_find,
    fence_writers,
    find_existing,
    find_topics,
    named_topics,
    require_empty,
    require_stopped,
)
from streams.operations.progress import SILENT, Progress
from streams.operations.repartition import verification
from streams.operations.repartition.moves import Move, copy_of, merge_of, states_of
from streams.operations.states import restored_store
from streams.settings.worker import Settings
from streams.state.keys import POLICIES_KEY
from streams.state.row_format import STATE_FORMAT
from streams.state.stores import RocksDBStore

_PLAN, _DONE = b"plan", b"done"
Reached = Callable[[str], None]


@dataclass(slots=True)
class Repartitioned:
    """How many records each topic has that were moved; `is_new` unless an earlier run had finished it."""

    target: Settings
    old_topics: list[str]
    records: dict[str, int] = field(default_factory=dict)
    is_new: bool = True


@dataclass(slots=True)
class _Run:
    source: Settings
    target: Settings
    old: dict[str, ProductTopic]
    new: dict[str, ProductTopic]
    stores: list[RocksDBStore]
    batches: Batches
    ledger: dict[bytes, Any]
    timestamp_of: Callable[[Any], int]
    reached: Reached
    starts: dict[str, dict[TopicPartition, int]]
    ends: dict[str, dict[TopicPartition, int]]
    progress: Progress


def ledger_of(target: Settings) -> str:
    """The topic that has the plan and the places."""
    return f"{target.topic_prefix}{target.app_id}-repartition"


async def repartition(
    source: Settings,
    target: Settings,
    timestamp_of: Callable[[Any], int],
    reached: Reached,
    progress: Progress = SILENT,
) -> Repartitioned:
    """Move everything from the topics of `source` to those of `target`; `timestamp_of` tells when an input happened.

    Raises:
        TopicContentError: topics hold what does not fit, or what was moved is not what is there.
        FencedError: another run has begun.
        WorkersRunningError: workers run.
        TopicError: a topic is missing or could not be created.
    """
    if target.topic_prefix == source.topic_prefix:
        raise TopicContentError(
            f"prefix {target.topic_prefix!r}: is the prefix of the existing topics; use a different one"
        )
    old = await find_topics(source)
    source = replace(source, partitions=len(old[CHANGELOG].partitions))
    for settings in {source.app_id: source, target.app_id: target}.values():
        await require_stopped(settings)
    await fence_writers(source, source.partitions)
    async with AsyncExitStack() as stack:
        stores = [
            await stack.enter_async_context(restored_store(source, number)) for number in range(source.partitions)
        ]
        starts, ends = await _find_extents(source, old, stores)
        new = await _prepare(target)
        producer = await stack.enter_async_context(producer_of(target, ledger_of(target)))
        ledger = await read_table(KafkaLog(cluster_of(target), [ledger_of(target)]), orjson.loads)
        batches = Batches(producer, most=target.batch_records)
        run = _Run(source, target, old, new, stores, batches, ledger, timestamp_of, reached, starts, ends, progress)
        await _plan(run)
        result = Repartitioned(target, [topic.topic for topic in old.values()], is_new=_DONE not in ledger)
        for name, move in _moves(run).items():
            # What was finished may have got input since, of producers that were not switched yet; nothing else moves.
            if result.is_new or name in INPUTS:
                await _run_move(run, name, move)
        if result.is_new:
            result.records = await _verify(run)
            await _finish(run)
    return result


async def _prepare(target: Settings) -> dict[str, ProductTopic]:
    """Create the ledger and the new topics; a refusal leaves none that was not there before.

    Raises:
        TopicContentError: topics exist that hold something or have another number of partitions.
        TopicError: one could not be created.
    """
    existing = await find_existing(target)
    for name, topic in named_topics(target).items():
        if name in existing and len(existing[name].partitions) != topic.num_partitions:
            raise TopicContentError(f"{topic.name}: exists with {len(existing[name].partitions)} partitions")
    has_ledger = bool(await existing_partitions(cluster_of(target), ledger_of(target)))
    if not has_ledger:
        await require_empty(target, existing)
    try:
        ledger = NewTopic(ledger_of(target), 1, target.replication, topic_configs={"cleanup.policy": "compact"})
        await create_missing(cluster_of(target), [ledger])  # one that exists is what an earlier run has left
        return await create_and_find(target)
    except (TopicError, KafkaError, TimeoutError):
        made = {topic.name for topic in named_topics(target).values()} - {topic.topic for topic in existing.values()}
        await delete_topics(target, made if has_ledger else {*made, ledger_of(target)})
        raise


async def _find_extents(
    source: Settings, old: dict[str, ProductTopic], stores: list[RocksDBStore]
) -> tuple[dict[str, dict[TopicPartition, int]], dict[str, dict[TopicPartition, int]]]:
    """Where each topic is read from and to; inputs from behind what the state has seen.

    Raises:
        TopicContentError: input is gone that was never processed.
    """
    starts, ends = dict[str, dict[TopicPartition, int]](), dict[str, dict[TopicPartition, int]]()
    for name, topic in old.items():
        extents = await extents_of(cluster_of(source), topic.partitions)
        starts[name] = {where: begin for where, (begin, _) in extents.items()}
        ends[name] = {where: end for where, (_, end) in extents.items()}
        if name not in INPUTS:
            continue
        for where, (begin, _) in extents.items():
            marker = stores[where.partition].get(MARKERS[INPUTS.index(name)])
            start = int(marker) + 1 if marker is not None else begin
            if start < begin and not source.accept_gaps:
                said = f"records {start}..{begin - 1} were deleted before they were processed"
                raise TopicContentError(
                    f"{where.topic}-{where.partition}: {said}; to continue without them, set TES_ACCEPT_GAPS=1"
                )
            starts[name][where] = max(start, begin)
    return starts, ends


async def _plan(run: _Run) -> None:
    """Write the plan, or see that it is the one of an earlier run and that the old state is as it was."""
    plan = {
        "from": [run.source.topic_prefix, run.source.app_id, run.source.partitions],
        "to": [run.target.topic_prefix, run.target.app_id, run.target.partitions],
        "state_ends": sorted(run.ends[CHANGELOG].values()),
    }
    known = run.ledger.get(_PLAN)
    if known is None:
        await require_empty(run.target, run.new)
        run.batches.add(ledger_of(run.target), _PLAN, orjson.dumps(plan), 0)
        for where in run.new[CHANGELOG].partitions:
            for key, value in state_format.new_rows(UNFINISHED).items():
                run.batches.add(where.topic, key, value, where.partition)
        await _commit(run)
    elif known != plan:
        said = f"is of another plan or another state ({known}, now {plan}): delete the new topics and start over"
        raise TopicContentError(f"{ledger_of(run.target)}: {said}")


def _moves(run: _Run) -> dict[str, Move]:
    cluster, moves = cluster_of(run.source), dict[str, Move]()
    for name in run.old:
        starts, ends, count = run.starts[name], run.ends[name], len(run.new[name].partitions)
        if name == SIGNS:
            continue
        if name == CHANGELOG:
            moves[name] = states_of(run.stores, count)
        elif name in INPUTS:
            moves[name] = merge_of(cluster, starts, ends, count, run.timestamp_of)
        else:
            moves[name] = copy_of(cluster, starts, ends, count)
    return moves


async def _run_move(run: _Run, name: str, move: Move) -> None:
    topic, place = run.new[name].topic, run.ledger.get(name.encode())
    # A changelog is moved as the rows that it comes to; nobody knows how many before.
    whole = sum(end - run.starts[name][where] for where, end in run.ends[name].items())
    run.progress.begin(f"moving {name}", None if name == CHANGELOG else whole)
    async for at, row in move(place):
        run.progress.advance()
        place = at
        run.batches.add(topic, row.key, row.value, row.partition, row.headers, row.timestamp)
        if run.batches.is_full:
            run.batches.add(ledger_of(run.target), name.encode(), orjson.dumps(place), 0)
            await _commit(run)
    if not run.batches.is_empty:
        run.batches.add(ledger_of(run.target), name.encode(), orjson.dumps(place), 0)
        await _commit(run)


async def _commit(run: _Run) -> None:
    await run.batches.commit()
    run.reached("moved")


async def _verify(run: _Run) -> dict[str, int]:
    """Compare every topic; returns the number of records, or of keys for compacted topics."""
    cluster, records = cluster_of(run.source), dict[str, int]()
    configs = {name: topic.topic_configs for name, topic in named_topics(run.target).items()}
    for name, topic in run.new.items():
        if name == SIGNS:
            continue
        run.progress.begin(f"verifying {name}")
        if name == CHANGELOG:
            wanted = verification.digest_of_states(run.stores)
            found = await verification.digest_of_changelog(cluster, topic.partitions)
        elif configs[name].get("cleanup.policy") == "compact":
            wanted = await verification.digest_of_keyed(cluster, run.old[name].partitions)
            found = await verification.digest_of_keyed(cluster, topic.partitions)
        else:
            keeps_times = not configs[name].items() >= BROKERS_TIME.items()
            wanted = await verification.digest_of_log(
                cluster, {**run.starts[name]}, run.ends[name], keeps_times=keeps_times
            )
            found = await verification.digest_of_log(cluster, dict.fromkeys(topic.partitions), keeps_times=keeps_times)
        records[name] = verification.compare(topic.topic, wanted, found)
        if name != CHANGELOG:
            await verification.check_places(cluster, topic.partitions)
    return records


async def _finish(run: _Run) -> None:
    """Let workers take the state."""
    known = {store.get(POLICIES_KEY) for store in run.stores}
    policies = known.pop() if len(known) == 1 else None  # where they differ, the new partitions take all policies over
    for where in run.new[CHANGELOG].partitions:
        if policies is not None:
            run.batches.add(where.topic, POLICIES_KEY, policies, where.partition)
        run.batches.add(where.topic, state_format.STATE_FORMAT_KEY, b"%d" % STATE_FORMAT, where.partition)
    run.batches.add(ledger_of(run.target), _DONE, b"true", 0)
    await _commit(run)
    await commit_offsets(run.target, {where: 0 for name in INPUTS for where in run.new[name].partitions})
