"""Batches that are folded while the one in front of them is written give the rows of a simple fold."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.database.database import Database
from streams.domain.keys import ServerKey
from streams.domain.time import DAY_MS
from streams.report.model.batch import SERVERS, Batch, Read
from streams.report.store.folding import forget
from streams.report.store.pending import PendingBatch
from streams.report.store.tables import SERVER, TENANT_COUNT
from streams.report.store.writer import Writer
from tests.support.report import START, batch_of, empty, folded, model_of, read_of, report_record, rows_of
from tests.support.report_batches import SLOW_DATABASE, BrokenError, cut, topics

WRITTEN, POSITIONED, COMMITTED = "written", "positioned", "committed"


class Steps:
    """Does something when a writer comes to a step; nothing else tells what it has done and not committed."""

    def __init__(self) -> None:
        self.at: dict[str, Callable[[], None]] = {}

    def __call__(self, name: str) -> None:
        act = self.at.get(name)
        if act is not None:
            act()


def pending_of(*batches: Sequence[Read]) -> list[PendingBatch]:
    return [PendingBatch(batch_of(list(reads))) for reads in batches]


def write_all(database: Database, batches: Sequence[Batch], points: Sequence[str]) -> None:
    """Write batches, each folded when the one in front of it comes to a point."""
    steps = Steps()
    writer = Writer(database, steps)
    waiting = [PendingBatch(batch) for batch in batches]
    for number, (one, point) in enumerate(zip(waiting, points, strict=True)):
        steps.at = {}
        if number + 1 < len(waiting):
            steps.at[point] = lambda one=one, behind=waiting[number + 1]: writer.fold_ahead(behind, one)  # type: ignore[misc]
        writer.write(one.batch, one)


@settings(max_examples=25, deadline=None, suppress_health_check=SLOW_DATABASE)
@given(data=st.data())
def test_any_batches_that_are_folded_ahead_give_the_rows_of_a_simple_fold(
    database: Database, data: st.DataObject
) -> None:
    found = data.draw(topics())
    batches = data.draw(st.composite(cut)(found))
    empty(database)
    write_all(database, batches, [data.draw(st.sampled_from([WRITTEN, COMMITTED])) for _ in batches])
    assert model_of(database) == folded(read for reads in found.values() for read in reads)


def reports() -> list[Read]:
    """Of a server that was new, known, forgotten, and came back; and of one beside it."""
    key = ServerKey("contoso", "mx1.contoso.com")
    return [
        read_of(SERVERS, 0, report_record(accepted=1)),
        read_of(SERVERS, 1, report_record(at=START + DAY_MS, accepted=4, status="THROTTLED", stage=2)),
        read_of(SERVERS, 2, report_record("mx2.contoso.com", START + DAY_MS)),
        read_of(SERVERS, 3, None, key)._replace(written_at=START + 2 * DAY_MS),
        read_of(SERVERS, 4, report_record(at=START + 3 * DAY_MS, accepted=1)),
        read_of(SERVERS, 5, report_record(at=START + 4 * DAY_MS, accepted=3, status="BLOCKED", stage=5)),
    ]


@pytest.mark.parametrize("point", [WRITTEN, COMMITTED])
def test_what_is_folded_ahead_is_what_is_written(database: Database, point: str) -> None:
    reads, steps = reports(), Steps()
    writer, waiting = Writer(database, steps), pending_of(*([read] for read in reads))
    were_ahead = []
    for one, behind in zip(waiting, [*waiting[1:], None], strict=True):
        if behind is not None:
            steps.at = {point: lambda one=one, behind=behind: writer.fold_ahead(behind, one)}  # type: ignore[misc]
        else:
            steps.at = {}
        ahead = one.ahead
        writer.write(one.batch, one)
        were_ahead.append(ahead is not None and one.servers is ahead.servers)
    assert were_ahead == [False, True, True, True, True, True]
    assert model_of(database) == folded(reads)


@pytest.mark.parametrize("point", [WRITTEN, COMMITTED])
def test_what_changes_behind_the_back_of_what_was_folded_ahead_is_seen(database: Database, point: str) -> None:
    first, second = reports()[:2]
    other = read_of(SERVERS, 1, report_record("mx2.contoso.com"))
    second = second._replace(offset=2)
    steps = Steps()
    writer = Writer(database, steps)
    writer.write(batch_of([first]))
    before, after = pending_of([other], [second])
    steps.at[point] = lambda: writer.fold_ahead(after, before)
    writer.write(before.batch, before)
    ahead = after.ahead
    assert ahead is not None
    with database.writing() as connection:
        forget(connection, [first.key], START + DAY_MS)
    steps.at = {}
    writer.write(after.batch, after)
    assert after.servers is not ahead.servers
    counts = {status: n for _, status, n in rows_of(database, TENANT_COUNT) if n}
    assert counts == {"REPORTED": 1, "THROTTLED": 1}
    assert len(rows_of(database, SERVER)) == 2


def test_what_was_folded_behind_a_batch_that_failed_is_folded_again(database: Database) -> None:
    reads, steps = reports(), Steps()
    writer = Writer(database, steps)
    before, after = pending_of(reads[:3], reads[3:])

    def fold_and_fail() -> None:
        writer.fold_ahead(after, before)
        raise BrokenError

    steps.at[WRITTEN] = fold_and_fail
    with pytest.raises(BrokenError):
        writer.write(before.batch, before)
    steps.at = {}
    writer.write(before.batch, before)
    ahead = after.ahead
    assert ahead is not None
    writer.write(after.batch, after)
    assert after.servers is not ahead.servers
    assert model_of(database) == folded(reads)


def test_what_is_written_is_let_go_while_batch_follows_batch(database: Database) -> None:
    steps, seen = Steps(), list[weakref.ref[PendingBatch]]()
    writer, reads = Writer(database, steps), reports()
    (one,) = pending_of(reads[:1])
    for read in reads[1:]:
        (behind,) = pending_of([read])
        steps.at = {WRITTEN: lambda one=one, behind=behind: writer.fold_ahead(behind, one)}  # type: ignore[misc]
        writer.write(one.batch, one)
        assert behind.ahead is not None
        seen.append(weakref.ref(one))
        one = behind
    steps.at = {}
    writer.write(one.batch, one)
    gc.collect()
    assert [written() for written in seen] == [None] * len(seen)


@pytest.mark.parametrize("folds_at", [WRITTEN, POSITIONED, COMMITTED])
@pytest.mark.parametrize("fails_at", [WRITTEN, POSITIONED, COMMITTED])
def test_writes_that_fail_anywhere_and_are_tried_again_write_each_record_once(
    database: Database, fails_at: str, folds_at: str
) -> None:
    reads, steps = reports(), Steps()
    writer, waiting = Writer(database, steps), pending_of(*([read] for read in reads))

    def reach(point: str, one: PendingBatch, behind: PendingBatch | None) -> None:
        if point == folds_at and behind is not None:
            writer.fold_ahead(behind, one)
        if point == fails_at:
            raise BrokenError

    for one, behind in zip_longest(waiting, waiting[1:]):
        steps.at = {point: partial(reach, point, one, behind) for point in (WRITTEN, POSITIONED, COMMITTED)}
        with pytest.raises(BrokenError):
            writer.write(one.batch, one)
        steps.at = {}
        writer.write(one.batch, one)
    assert model_of(database) == folded(reads)
