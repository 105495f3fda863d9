"""The spool: events survive the door, stay within their bound, and no failure of the disk stops mail."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.edge.ports import SpooledEvent
from streams.edge.store.database import SPOOL_FILE, mark_damaged
from streams.edge.store.spool import RETRY_SECONDS, SpoolWriter
from streams.edge.store.spool_reader import NOTHING_WAITS, SpoolReader
from tests.support.edge_files import event_of, only_readable, spooled_ids

ROOM = 1 << 20
BODY = b"x" * 900
"""Four of these share a page."""


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[SpoolWriter]:
    writer = SpoolWriter(tmp_path, ROOM)
    writer.open()
    yield writer
    writer.close()


def test_events_are_read_in_order_and_wait_until_they_are_removed(tmp_path: Path, spool: SpoolWriter) -> None:
    for number in range(5):
        assert spool.append(event_of(number, body=b"%d" % number), b"client")
    reader = SpoolReader(tmp_path)
    first = reader.read(0, 3, ROOM)
    assert [event.body for event in first] == [b"0", b"1", b"2"]
    assert [event.tenant_id for event in first] == ["contoso"] * 3
    assert [event.body for event in reader.read(first[-1].seq, 10, ROOM)] == [b"3", b"4"]
    assert [event.body for event in reader.read(0, 10, 2)] == [b"0", b"1"]
    reader.remove([first[0].seq, first[2].seq])
    assert [event.body for event in reader.read(0, 10, ROOM)] == [b"1", b"3", b"4"]
    waiting = reader.waiting()
    assert (waiting.events, waiting.bytes) == spool.waiting()
    assert waiting.events == 3
    assert waiting.oldest == first[1].seq


def test_a_clock_that_goes_back_leaves_the_totals_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10 * 3600 * 10**9]
    monkeypatch.setattr(time, "time_ns", lambda: now[0])
    reader = SpoolReader(tmp_path)
    for hours in (10, 9):
        now[0] = hours * 3600 * 10**9
        spool = SpoolWriter(tmp_path, ROOM)
        for number in range(20):
            assert spool.append(event_of(number, body=BODY), b"client")
        assert spool.waiting()[0] == reader.waiting().events == 20
        events = reader.read(0, 99, ROOM)
        reader.remove([event.seq for event in events])
        assert spool.waiting() == (0, 0)
        spool.close()


def test_no_number_is_given_twice(tmp_path: Path, spool: SpoolWriter) -> None:
    reader = SpoolReader(tmp_path)
    seen: list[int] = []
    for number in range(300):
        if number % 50 == 0:
            spool.close()
        spool.append(event_of(number), b"client")
        (event,) = reader.read(0, 2, ROOM)
        seen.append(event.seq)
        reader.remove([event.seq])
    assert sorted(set(seen)) == seen


def test_where_there_is_no_spool_nothing_waits(tmp_path: Path) -> None:
    reader = SpoolReader(tmp_path / "missing")
    assert reader.read(0, 10, ROOM) == []
    assert reader.waiting() == NOTHING_WAITS
    reader.remove([1])


def test_the_oldest_uneventful_events_go_first(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, 8 << 12)
    eventful = {number for number in range(64) if number % 4 == 0}
    for number in range(32):
        assert spool.append(event_of(number, is_eventful=number in eventful, body=BODY), b"client")
    for number in range(32, 56):
        assert spool.append(event_of(number, body=BODY), b"client")
    assert spooled_ids(tmp_path) == [f"event-{number}" for number in range(56) if number >= 32 or number % 4 == 0]
    assert spool.dropped == {"uneventful": 24, "unstored": 0}
    for number in range(56, 60):
        assert spool.append(event_of(number, body=BODY), b"client")
    assert spooled_ids(tmp_path) == [
        f"event-{number}" for number in range(60) if number >= 32 or number in {16, 20, 24, 28}
    ]
    assert spool.dropped == {"uneventful": 24, "eventful": 4, "unstored": 0}
    again = SpoolWriter(tmp_path, 8 << 12)
    again.open()
    assert again.dropped == spool.dropped


def test_an_uneventful_event_is_not_stored_where_all_others_are_eventful(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, 2 << 12)
    for number in range(8):
        assert spool.append(event_of(number, body=BODY), b"client")
    assert not spool.append(event_of(8, is_eventful=False, body=BODY), b"client")
    assert len(spooled_ids(tmp_path)) == 8
    assert spool.dropped == {"uneventful": 1, "unstored": 0}


def test_an_event_larger_than_the_bound_is_not_stored(spool: SpoolWriter, tmp_path: Path) -> None:
    assert not spool.append(event_of(1, body=b"x" * ROOM), b"client")
    assert spool.dropped == {"unstored": 1}
    assert spool.append(event_of(2, body=b"x" * (ROOM // 2)), b"client")
    assert spooled_ids(tmp_path) == ["event-2"]


def test_refused_answers_are_counted_until_the_next_event(spool: SpoolWriter) -> None:
    for _ in range(3):
        spool.count_refused(b"one")
    spool.count_refused(b"two")
    spool.close()
    assert (spool.refused(b"one"), spool.refused(b"two"), spool.refused(b"three")) == (3, 1, 0)
    assert spool.append(event_of(1), b"one")
    assert (spool.refused(b"one"), spool.refused(b"two")) == (0, 1)
    assert spool.append(event_of(2), b"two")
    assert spool.refused(b"two") == 0


def test_the_clients_that_are_counted_are_bounded(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, ROOM, max_refused=10)
    spool.count_refused(b"0")
    for number in range(11):
        spool.count_refused(b"%d" % number)
    assert [spool.refused(b"%d" % number) for number in range(11)] == [0] * 10 + [1]
    assert spool.dropped["uncounted"] == 11


def test_what_was_stored_survives_a_kill(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from streams.edge.store.spool import RETRY_SECONDS, SpoolWriter\n"
        "from tests.support.edge_files import event_of\n"
        "spool = SpoolWriter(Path(sys.argv[1]), 1 << 20); spool.count_refused(b'other')\n"
        "for number in range(100): assert spool.append(event_of(number), b'client')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    spool = SpoolWriter(tmp_path, ROOM)
    spool.open()
    assert spooled_ids(tmp_path) == [f"event-{number}" for number in range(100)]
    assert spool.refused(b"other") == 1


def test_a_full_disk_loses_the_oldest_and_recovers(tmp_path: Path, spool: SpoolWriter) -> None:
    for number in range(100):
        assert spool.append(event_of(number, is_eventful=False, body=BODY), b"client")
    assert spool._connection is not None
    (pages,) = spool._connection.execute("PRAGMA page_count").fetchone()
    spool._connection.execute(f"PRAGMA max_page_count={pages}")
    number = 100
    while "uneventful" not in spool.dropped:
        assert spool.append(event_of(number, body=BODY), b"client")
        number += 1
    assert spool.dropped == {"uneventful": 100, "unstored": 0}
    while spool.append(event_of(number, body=b"x" * 9000), b"client"):
        number += 1
    assert spool.dropped["unstored"] == 1
    spool._connection.execute("PRAGMA max_page_count=100000")
    assert spool.append(event_of(number + 1), b"client")
    assert spooled_ids(tmp_path)[-1] == f"event-{number + 1}"


@pytest.mark.parametrize("kind", ["file in place of the folder", "folder in place of the file"])
def test_a_place_that_cannot_be_used_loses_events_and_no_mail(tmp_path: Path, kind: str) -> None:
    now = [0.0]
    folder = tmp_path / "edge"
    obstacle = folder / SPOOL_FILE if kind.startswith("folder") else folder
    if kind.startswith("folder"):
        obstacle.mkdir(parents=True)
    else:
        obstacle.touch()
    spool = SpoolWriter(folder, ROOM, clock=lambda: now[0])
    spool.open()
    spool.count_refused(b"client")
    assert not spool.append(event_of(1), b"client")
    assert spool.refused(b"client") == 0
    assert spool.waiting() == (0, 0)
    assert spool.dropped == {"unstored": 1}
    obstacle.rmdir() if obstacle.is_dir() else obstacle.unlink()
    now[0] += 2
    assert spool.append(event_of(2), b"client")
    assert spooled_ids(folder) == ["event-2"]


def test_a_spool_that_is_gone_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "edge"
    spool = SpoolWriter(folder, ROOM)
    reader = SpoolReader(folder)
    assert spool.append(event_of(1), b"client")
    assert len(reader.read(0, 9, ROOM)) == 1
    shutil.rmtree(folder)
    assert spool.append(event_of(2), b"client")
    assert spooled_ids(folder) == ["event-2"]
    assert len(reader.read(0, 9, ROOM)) == 1


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM event").fetchall()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("gone", [("",), ("", "-wal"), ("", "-wal", "-shm")])
def test_a_spool_of_which_only_a_part_is_gone_is_made_anew(tmp_path: Path, gone: tuple[str, ...]) -> None:
    spool = SpoolWriter(tmp_path, ROOM)
    assert spool.append(event_of(1), b"client")
    command = (sys.executable, "-c", HOLD, str(tmp_path / SPOOL_FILE))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        for end in gone:
            (tmp_path / f"{SPOOL_FILE}{end}").unlink()
        assert spool.append(event_of(2), b"client")
        other.communicate()
    assert spooled_ids(tmp_path) == ["event-2"]


def test_a_log_that_is_gone_is_noticed_by_whoever_opens_the_spool(tmp_path: Path) -> None:
    now = [0.0]
    spool = SpoolWriter(tmp_path, ROOM, clock=lambda: now[0])
    assert spool.append(event_of(1), b"client")
    (tmp_path / f"{SPOOL_FILE}-wal").unlink()
    read = "import sys, pathlib; from streams.edge.store.spool_reader import SpoolReader as Reader; "
    command = (sys.executable, "-c", f"{read}Reader(pathlib.Path(sys.argv[1])).waiting()", str(tmp_path))
    assert subprocess.run(command, stderr=subprocess.PIPE, check=False).returncode == 1
    now[0] += 2
    assert spool.append(event_of(2), b"client")
    spool.close()
    assert spooled_ids(tmp_path) == ["event-2"]


def test_a_damaged_spool_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / SPOOL_FILE
    path.write_bytes(b"SQLite format 3\0" + b"\xaa" * 10_000)
    spool = SpoolWriter(tmp_path, ROOM)
    spool.open()
    assert spool.append(event_of(1), b"client")
    assert spooled_ids(tmp_path) == ["event-1"]
    assert len(list(tmp_path.glob("spool.db.damaged-*"))) == 1


def test_damage_that_shows_later_costs_what_waited(tmp_path: Path) -> None:
    now = [0.0]
    spool = SpoolWriter(tmp_path, ROOM, clock=lambda: now[0])
    for number in range(1000):
        spool.append(event_of(number, body=BODY), b"client")
    spool.close()
    path = tmp_path / SPOOL_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[: 10 << 12] + b"\xaa" * (len(whole) - (10 << 12)))
    reader = SpoolReader(tmp_path)
    with pytest.raises(sqlite3.DatabaseError):
        reader.read(0, 1000, ROOM)
    now[0] += 2
    assert spool.append(event_of(1000), b"client")
    assert spooled_ids(tmp_path) == ["event-1000"]
    assert len(reader.read(0, 9, ROOM)) == 1
    mark_damaged(path)  # the door looks for the mark again within a second
    now[0] += 2
    assert spool.append(event_of(1001), b"client")
    assert spooled_ids(tmp_path) == ["event-1001"]


def test_an_event_that_cannot_be_bound_is_lost_alone(spool: SpoolWriter, tmp_path: Path) -> None:
    assert not spool.append(SpooledEvent("contoso", "\udc80", True, b""), b"client")
    assert spool.append(event_of(1), b"client")
    assert spooled_ids(tmp_path) == ["event-1"]


def test_an_event_that_kafka_refuses_is_kept_aside_and_counted(tmp_path: Path, spool: SpoolWriter) -> None:
    for number in range(3):
        spool.append(event_of(number), b"client")
    reader = SpoolReader(tmp_path)
    events = reader.read(0, 9, ROOM)
    reader.reject(events[1].seq, "too large")
    reader.reject(events[1].seq, "too large")
    assert spooled_ids(tmp_path) == ["event-0", "event-2"]
    assert reader.rejected() == 1
    connection = sqlite3.connect(tmp_path / SPOOL_FILE)
    kept = connection.execute("SELECT event_id, reason, body FROM rejected").fetchall()
    connection.close()
    assert kept == [("event-1", "too large", b"body")]


def patience_of(spool: SpoolWriter) -> int:
    """Milliseconds for which the spool waits for a lock."""
    assert spool._connection is not None
    return int(spool._connection.execute("PRAGMA busy_timeout").fetchone()[0])


def test_mail_waits_once_for_a_sync_that_hangs_in_a_transaction(tmp_path: Path, spool: SpoolWriter) -> None:
    spool.append(event_of(0), b"client")
    before = patience_of(spool)
    hanging = sqlite3.connect(tmp_path / SPOOL_FILE, isolation_level=None)
    hanging.execute("BEGIN IMMEDIATE")
    assert not spool.append(event_of(1), b"client")
    assert patience_of(spool) * 100 < before
    spool.count_refused(b"client")
    assert not spool.append(event_of(2), b"client")
    hanging.execute("ROLLBACK")
    hanging.close()
    assert spool.append(event_of(3), b"client")
    assert patience_of(spool) == before
    assert spool.dropped == {"unstored": 2}
    assert spooled_ids(tmp_path) == ["event-0", "event-3"]


def test_a_file_that_becomes_writable_is_written_without_a_restart(tmp_path: Path, spool: SpoolWriter) -> None:
    spool.append(event_of(0), b"client")
    now = [0.0]
    later = SpoolWriter(tmp_path, ROOM, clock=lambda: now[0])
    with only_readable():
        later.open()
        assert not later.append(event_of(1), b"client")
    assert not later.append(event_of(2), b"client")
    now[0] += RETRY_SECONDS
    assert later.append(event_of(3), b"client")
    assert later.dropped["unstored"] == 2
    later.close()
    assert spooled_ids(tmp_path) == ["event-0", "event-3"]


def test_events_are_removed_once_the_file_is_writable(tmp_path: Path, spool: SpoolWriter) -> None:
    spool.append(event_of(0), b"client")
    reader = SpoolReader(tmp_path)
    with only_readable():
        (event,) = reader.read(0, 10, ROOM)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.remove([event.seq])
    reader.remove([event.seq])
    assert spooled_ids(tmp_path) == []
    reader.close()


def test_events_that_come_together_are_stored_with_one_commit(tmp_path: Path, spool: SpoolWriter) -> None:
    reader = SpoolReader(tmp_path)
    assert spool.append(event_of(0))
    assert spool._connection is not None
    statements: list[str] = []
    spool._connection.set_trace_callback(statements.append)
    assert spool.append_all([event_of(number, is_eventful=number % 2 == 0) for number in range(1, 300)]) == []
    assert (statements[0], statements.count("COMMIT")) == ("BEGIN IMMEDIATE", 1)
    assert spool.append_all([event_of(300)]) == []
    assert spool.append_all([]) == []
    events = reader.read(0, 400, ROOM)
    assert spooled_ids(tmp_path) == [f"event-{number}" for number in range(301)]
    assert len({event.seq for event in events}) == 301
    assert spool.waiting()[0] == reader.waiting().events == 301


def test_one_event_that_cannot_be_stored_takes_none_along(tmp_path: Path, spool: SpoolWriter) -> None:
    unbound, large = SpooledEvent("contoso", "\udc80", True, b""), event_of(7, body=b"x" * ROOM)
    for lost in (unbound, large):
        events = [event_of(1), lost, event_of(2)]
        assert spool.append_all(events) == [lost]
    assert spooled_ids(tmp_path) == ["event-1", "event-2"] * 2
    assert spool.dropped == {"unstored": 2}


def test_events_that_come_together_make_room_as_others_do(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, 2 << 12)
    assert spool.append_all([event_of(number, is_eventful=False, body=BODY) for number in range(6)]) == []
    assert spool.append_all([event_of(number, body=BODY) for number in range(6, 9)]) == []
    assert spooled_ids(tmp_path)[-3:] == ["event-6", "event-7", "event-8"]
    assert len(spooled_ids(tmp_path)) <= 8
    assert spool.dropped["uneventful"] > 0


def test_events_that_come_together_are_lost_together_where_sync_hangs(tmp_path: Path, spool: SpoolWriter) -> None:
    hanging = sqlite3.connect(tmp_path / SPOOL_FILE, isolation_level=None)
    hanging.execute("BEGIN IMMEDIATE")
    events = [event_of(number) for number in range(3)]
    assert spool.append_all(events) == events
    hanging.execute("ROLLBACK")
    hanging.close()
    assert spool.append_all(events) == []
    assert spool.append_all([event_of(number) for number in range(3, 6)]) == []
    assert spooled_ids(tmp_path) == [f"event-{number}" for number in range(6)]


def test_who_was_never_refused_costs_no_more_where_others_were(tmp_path: Path, spool: SpoolWriter) -> None:
    spool.count_refused(b"other")
    spool.close()
    spool.open()
    assert spool._connection is not None
    statements: list[str] = []
    spool._connection.set_trace_callback(statements.append)
    assert spool.refused(b"client") == 0
    assert statements == []
    assert spool.append(event_of(1), b"client")
    assert len(statements) == 1
    assert spool.append(event_of(2), b"other")
    assert spool.refused(b"other") == 0
    assert len(spooled_ids(tmp_path)) == 2
