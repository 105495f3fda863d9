"""The journal in front of the spool: what is answered is on disk, and reaches the database once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.edge.ports import SpooledEvent
from streams.edge.store.database import JOURNAL_FILE, SPOOL_FILE
from streams.edge.store.journal import Journal, NumberedEvent, frame_of, parse_frames
from streams.edge.store.journaled import MAX_EVENTS, STORE_SECONDS, STORED_AT_ONCE, JournaledSpool
from streams.edge.store.spool import RETRY_SECONDS, SpoolWriter
from streams.edge.store.spool_reader import SpoolReader
from tests.support.edge_files import event_of, spooled_ids

ROOM = 1 << 20
BODY = b"x" * 900


class Site:
    """A spool with its journal; `run_due` is the loop whose moment has come, `lost` has the ids of lost events."""

    def __init__(self, folder: Path, bound: int = ROOM, *, max_events: int = MAX_EVENTS) -> None:
        self.folder, self.now = folder, 0.0
        self.due: list[Callable[[], None]] = []
        self.lost: list[str] = []
        self.writer = SpoolWriter(folder, bound, clock=lambda: self.now)
        self.spool = JournaledSpool(
            folder,
            self.writer,
            self._later,
            lambda _, event_id: self.lost.append(event_id),
            clock=lambda: self.now,
            max_events=max_events,
        )
        self.spool.open()

    def _later(self, seconds: float, store: Callable[[], None]) -> None:
        assert seconds == STORE_SECONDS
        self.due.append(store)

    def run_due(self) -> None:
        due, self.due = self.due, []
        for store in due:
            store()

    @property
    def file(self) -> Path:
        return self.folder / JOURNAL_FILE

    def hold(self) -> sqlite3.Connection:
        """A sync that hangs in a transaction."""
        connection = sqlite3.connect(self.folder / SPOOL_FILE, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        return connection


def ids(first: int, behind: int) -> list[str]:
    return [f"event-{number}" for number in range(first, behind)]


def test_events_go_into_the_database_together_and_in_order(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for number in range(5):
        assert site.spool.append(event_of(number))
    assert site.spool.append_all([event_of(5), event_of(6, is_eventful=False)]) == []
    assert spooled_ids(tmp_path) == []
    events, size = site.spool.waiting()
    assert events == 7
    assert len(site.due) == 1
    site.run_due()
    assert spooled_ids(tmp_path) == ids(0, 7)
    assert site.spool.waiting() == (events, size)
    assert (site.file.stat().st_size, site.due) == (0, [])
    assert site.spool.append_all([event_of(7)]) == []
    assert len(site.due) == 1
    site.spool.close()
    assert spooled_ids(tmp_path) == ids(0, 8)
    site.run_due()
    assert (site.due, site.lost) == ([], [])


def test_many_events_do_not_wait_for_their_moment(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for number in range(STORED_AT_ONCE):
        assert site.spool.append(event_of(number))
    assert len(spooled_ids(tmp_path)) == STORED_AT_ONCE


KILL = """
import os, signal, sys; from pathlib import Path
from streams.edge.store.journaled import JournaledSpool
from streams.edge.store.spool import SpoolWriter
from tests.support.edge_files import event_of
folder = Path(sys.argv[1])
spool = JournaledSpool(folder, SpoolWriter(folder, 1 << 20), lambda *_: None, lambda *_: None)
spool.open()
for number in range(100): assert spool.append(event_of(number))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILL, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert spooled_ids(tmp_path) == []
    site = Site(tmp_path)
    assert spooled_ids(tmp_path) == ids(0, 100)
    assert site.spool.append(event_of(100))
    site.run_due()
    assert spooled_ids(tmp_path) == ids(0, 101)


@pytest.mark.parametrize("is_delivered", [False, True])
def test_a_kill_between_the_commit_and_the_end_of_the_journal_stores_nothing_twice(
    tmp_path: Path, is_delivered: bool
) -> None:
    site = Site(tmp_path)
    for number in range(3):
        assert site.spool.append(event_of(number))
    left = site.file.read_bytes()
    site.run_due()
    if is_delivered:
        reader = SpoolReader(tmp_path)
        reader.remove([event.seq for event in reader.read(0, 9, ROOM)])
    site.file.write_bytes(left)  # as the kill leaves it
    again = Site(tmp_path)
    assert spooled_ids(tmp_path) == ([] if is_delivered else ids(0, 3))
    assert again.spool.append(event_of(3))
    again.run_due()
    assert spooled_ids(tmp_path)[-1] == "event-3"
    assert (again.lost, again.spool.dropped) == ([], {"unstored": 0})


def test_a_tail_that_is_cut_anywhere_costs_only_the_event_that_is_cut(tmp_path: Path) -> None:
    items = [NumberedEvent(number, event_of(number, is_eventful=number % 2 == 0)) for number in range(1, 4)]
    frames = [frame_of(item) for item in items]
    whole = b"".join(frames)
    for length in range(len(whole) + 1):
        found, size = parse_frames(whole[:length])
        count = sum(len(b"".join(frames[: number + 1])) <= length for number in range(3))
        assert list(found) == items[:count]
        assert size == len(b"".join(frames[:count]))
    for place in range(len(frames[0]), len(whole)):
        found, _ = parse_frames(whole[:place] + bytes((whole[place] ^ 1,)) + whole[place + 1 :])
        assert items[0] in found
        assert len(found) < 3
    assert parse_frames(b"\0" * 4096) == ([], 0)


def test_events_are_appended_behind_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first, second = (NumberedEvent(number, event_of(number)) for number in (1, 2))
    path.write_bytes(frame_of(first) + frame_of(second)[:-1])
    journal = Journal(path)
    assert list(journal.open()) == [first]
    journal.append(frame_of(second))
    journal.close()
    assert list(Journal(path).open()) == [first, second]


def test_a_sync_that_hangs_in_a_transaction_delays_events_and_loses_none(tmp_path: Path) -> None:
    site = Site(tmp_path)
    hanging = site.hold()
    for number in range(STORED_AT_ONCE + 10):
        assert site.spool.append(event_of(number))
    site.run_due()
    assert len(site.due) == 1
    hanging.close()
    site.run_due()
    assert spooled_ids(tmp_path) == ids(0, STORED_AT_ONCE + 10)
    assert (site.lost, site.spool.dropped) == ([], {"unstored": 0})


def test_the_journal_is_bounded_where_sync_hangs(tmp_path: Path) -> None:
    site = Site(tmp_path, max_events=10)
    hanging = site.hold()
    assert [site.spool.append(event_of(number)) for number in range(12)] == [True] * 10 + [False] * 2
    assert not site.spool.append(event_of(12), b"client")
    hanging.close()
    assert site.spool.append(event_of(13))
    site.run_due()
    assert spooled_ids(tmp_path) == [*ids(0, 10), "event-13"]
    assert site.spool.dropped["unstored"] == 3


def test_an_event_that_tells_a_count_is_committed_behind_those_before_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.spool.count_refused(b"client")
    assert site.spool.refused(b"client") == 1
    assert site.spool.append(event_of(0))
    assert site.spool.append(event_of(1), b"client")
    assert site.spool.refused(b"client") == 0
    assert spooled_ids(tmp_path) == ids(0, 2)


def test_events_beyond_the_bound_make_room_in_order(tmp_path: Path) -> None:
    site = Site(tmp_path, 8 << 12)
    for number in range(40):
        assert site.spool.append(event_of(number, is_eventful=number >= 8, body=BODY))
        assert site.spool.waiting()[1] <= 8 << 12
    site.run_due()
    assert spooled_ids(tmp_path) == ids(8, 40)
    assert site.spool.dropped == {"uneventful": 8, "unstored": 0}


def test_a_full_disk_of_the_database_loses_what_has_no_room_and_tells(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.writer._connection is not None
    (pages,) = site.writer._connection.execute("PRAGMA page_count").fetchone()
    site.writer._connection.execute(f"PRAGMA max_page_count={pages}")
    for number in range(3):
        assert site.spool.append(event_of(number, body=b"x" * 9000))
    site.run_due()
    assert site.lost == ids(0, 3)
    assert site.spool.dropped["unstored"] == 3
    assert site.spool.waiting() == (0, 0)
    site.writer._connection.execute("PRAGMA max_page_count=100000")
    assert site.spool.append(event_of(3))
    site.run_due()
    assert spooled_ids(tmp_path) == ["event-3"]


def test_a_journal_that_takes_no_more_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path)
    assert site.spool.append(event_of(0))
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[: len(data) // 2]))
    assert site.spool.append(event_of(1))
    assert spooled_ids(tmp_path) == ids(0, 2)
    monkeypatch.undo()
    assert site.spool.append(event_of(2))
    assert spooled_ids(tmp_path) == ids(0, 3)
    site.now += RETRY_SECONDS
    assert site.spool.append(event_of(3))
    assert spooled_ids(tmp_path) == ids(0, 3)
    assert [item.event.event_id for item in parse_frames(site.file.read_bytes())[0]] == ["event-3"]


def test_a_journal_that_cannot_be_opened_is_done_without(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_FILE).mkdir()
    site = Site(tmp_path)
    assert site.spool.append(event_of(0))
    assert spooled_ids(tmp_path) == ids(0, 1)
    (tmp_path / JOURNAL_FILE).rmdir()
    site.now += RETRY_SECONDS
    assert site.spool.append(event_of(1))
    assert parse_frames(site.file.read_bytes())[0][0].event == event_of(1)


def test_a_journal_that_was_deleted_is_made_anew(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.spool.append(event_of(0))
    site.file.unlink()
    site.run_due()
    assert site.spool.append(event_of(1))
    assert len(parse_frames(site.file.read_bytes())[0]) == 1
    site.run_due()
    assert spooled_ids(tmp_path) == ids(0, 2)


def test_what_is_in_the_journal_outlives_the_database(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.spool.append(event_of(0))
    site.run_due()
    assert site.spool.append(event_of(1))
    for end in ("", "-wal", "-shm"):
        (tmp_path / f"{SPOOL_FILE}{end}").unlink()
    site.now += 2
    site.run_due()
    assert spooled_ids(tmp_path) == ["event-1"]


def test_an_event_that_cannot_be_stored_takes_none_along(tmp_path: Path) -> None:
    site = Site(tmp_path)
    unbound, large = SpooledEvent("contoso", "\udc80", True, b""), event_of(7, body=b"x" * ROOM)
    for lost in (unbound, large):
        assert site.spool.append_all([event_of(1), lost, event_of(2)]) == [lost]
    site.run_due()
    assert spooled_ids(tmp_path) == ["event-1", "event-2"] * 2
