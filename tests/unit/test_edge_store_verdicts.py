"""The table of verdicts: sync writes it, the door looks up in it, and neither stumbles over the other."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from streams.domain.edge import Knowledge
from streams.domain.keys import ServerKey
from streams.edge.ports import UnreadableVerdictError
from streams.edge.store.database import VERDICTS_FILE, VERSION_FILE, mark_of
from streams.edge.store.table import TableReplacedError, VerdictTable
from streams.edge.store.table_layout import CLOCK_SKEW, COMPLETE_AT, CONFIRMED_AT, SYNC_ALIVE_AT
from streams.edge.store.verdicts import MAX_REMEMBERED, VerdictReader
from streams.wire.edge_verdict import pack_edge_verdict
from tests.support.edge_files import fill_table, only_readable, rows_of, verdict_of


def opened(folder: Path) -> VerdictReader:
    reader = VerdictReader(folder)
    reader.open()
    return reader


def opened_table(folder: Path) -> VerdictTable:
    table = VerdictTable(folder)
    table.open()
    return table


def is_readable(reader: VerdictReader, number: int) -> bool:
    try:
        reader.find(verdict_of(number).key)
    except UnreadableVerdictError:
        return False
    return True


def test_a_verdict_is_found_by_its_server(tmp_path: Path) -> None:
    fill_table(tmp_path, *(verdict_of(number) for number in range(50)), confirmed_at=7)
    reader = opened(tmp_path)
    assert reader.find(verdict_of(17).key) == verdict_of(17)
    assert reader.find(ServerKey("fabrikam", verdict_of(17).server)) is None
    assert reader.find(ServerKey("contoso", "\udc80")) is None
    assert reader.knowledge == Knowledge(7)


@pytest.mark.parametrize("has_number", [True, False])
def test_a_change_is_seen_at_once_by_who_has_read_before(tmp_path: Path, *, has_number: bool) -> None:
    one = verdict_of(1)
    fill_table(tmp_path, one, confirmed_at=7)
    table = opened_table(tmp_path)
    if not has_number:
        (tmp_path / VERSION_FILE).unlink()
    reader = opened(tmp_path)
    if not has_number:
        (tmp_path / VERSION_FILE).mkdir()
    key = one.key.topic_key()
    for change in (one._replace(revision=5), None, one._replace(revision=6)):
        for _ in range(2):
            reader.find(one.key)
        table.write({key: None if change is None else pack_edge_verdict(change)}, {}, is_loading=False)
        assert reader.find(one.key) == change


def test_a_change_that_left_no_number_is_seen_with_the_next_poll(tmp_path: Path) -> None:
    one = verdict_of(1)
    fill_table(tmp_path, one, confirmed_at=7)
    reader = opened(tmp_path)
    assert reader.find(one.key) == one
    connection = sqlite3.connect(tmp_path / VERDICTS_FILE)
    with connection:
        connection.execute("DELETE FROM verdict")
    connection.close()
    reader.poll()
    assert reader.find(one.key) is None


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    fill_table(tmp_path, verdict_of(1), confirmed_at=7)
    reader = opened(tmp_path)
    for number in range(3 * MAX_REMEMBERED):
        reader.find(ServerKey("contoso", f"mx{number}.example"))
    assert 0 < len(reader._remembered) <= MAX_REMEMBERED


@pytest.mark.parametrize("kind", ["nothing", "folder", "empty", "text", "foreign"])
def test_what_is_no_table_is_as_none(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "edge"
    if kind != "nothing":
        folder.mkdir()
    match kind:
        case "folder":
            (folder / VERDICTS_FILE).mkdir()
        case "empty":
            (folder / VERDICTS_FILE).touch()
        case "text":
            (folder / VERDICTS_FILE).write_text("not a database\n" * 1000)
        case "foreign":
            connection = sqlite3.connect(folder / VERDICTS_FILE)
            connection.execute("PRAGMA user_version = 99")
            connection.close()
    reader = opened(folder)
    assert reader.find(verdict_of().key) is None
    assert reader.knowledge == Knowledge(None)
    assert reader.connectors() == []
    assert (reader.connectors_version, reader.sync_alive_at) == (0, None)
    reader.close()


def test_a_door_that_was_there_first_finds_the_table_when_it_comes(tmp_path: Path) -> None:
    reader = opened(tmp_path)
    fill_table(tmp_path, verdict_of(), confirmed_at=7)
    assert reader.find(verdict_of().key) is None
    reader.poll()
    assert reader.find(verdict_of().key) == verdict_of()


def test_the_newest_verdict_counts_even_if_it_cannot_be_read(tmp_path: Path) -> None:
    table = opened_table(tmp_path)
    table.begin("cluster/topic", 1)
    table.write({**rows_of([verdict_of(1), verdict_of(2)])}, {}, is_loading=True)
    table.complete()
    reader = opened(tmp_path)
    table.write({verdict_of(1).key.topic_key(): b"", verdict_of(2).key.topic_key(): None}, {}, is_loading=False)
    with pytest.raises(UnreadableVerdictError):
        reader.find(verdict_of(1).key)
    assert reader.find(verdict_of(2).key) is None
    assert not mark_of(tmp_path / VERDICTS_FILE).exists()


def test_the_door_sees_what_sync_says(tmp_path: Path) -> None:
    table = opened_table(tmp_path)
    reader = opened(tmp_path)
    table.set_status({CONFIRMED_AT: 5, CLOCK_SKEW: 70_000, SYNC_ALIVE_AT: 6})
    table.write_connectors({b"contoso/c1": b"{}", b"contoso/c2": b"[]"}, 1000)
    reader.poll()
    assert reader.knowledge == Knowledge(5, 70_000)
    assert reader.sync_alive_at == 6
    assert reader.connectors_version == 1000
    assert reader.connectors() == [b"{}", b"[]"]
    table.write_connectors({b"contoso/c1": None}, 900)
    reader.poll()
    assert reader.connectors_version == 1001
    assert reader.connectors() == [b"[]"]


def test_positions_and_verdicts_are_written_together(tmp_path: Path) -> None:
    table = opened_table(tmp_path)
    table.begin("cluster/topic", 1)
    table.write(rows_of([verdict_of(1)]), {0: 10, 1: 20}, is_loading=True)
    table.close()
    table.open()
    assert table.positions() == {0: 10, 1: 20}
    assert table.status()["is_loading"] == 1
    with pytest.raises(sqlite3.Error):
        table.write({b"key": b"value", b"other": 5j}, {0: 99}, is_loading=True)  # type: ignore[dict-item]
    assert table.positions() == {0: 10, 1: 20}


def test_a_reading_from_the_beginning_shows_at_its_end_only(tmp_path: Path) -> None:
    fill_table(tmp_path, verdict_of(1), verdict_of(2), confirmed_at=7)
    reader, table = opened(tmp_path), opened_table(tmp_path)
    table.begin("cluster/topic", 1)
    assert table.positions() == {}
    table.write(rows_of([verdict_of(2, revision=2), verdict_of(3)]), {0: 5}, is_loading=True)
    assert reader.find(verdict_of(1).key) == verdict_of(1)
    assert reader.find(verdict_of(2).key) == verdict_of(2)
    assert reader.find(verdict_of(3).key) is None
    table.complete()
    assert reader.find(verdict_of(1).key) is None
    assert reader.find(verdict_of(2).key) == verdict_of(2, revision=2)
    assert reader.find(verdict_of(3).key) == verdict_of(3)
    reader.poll()
    assert reader.knowledge == Knowledge(7)


def test_the_verdicts_of_another_topic_are_gone_at_once(tmp_path: Path) -> None:
    fill_table(tmp_path, verdict_of(), confirmed_at=7)
    reader, table = opened(tmp_path), opened_table(tmp_path)
    table.begin("cluster/recreated", 1)
    reader.poll()
    assert reader.find(verdict_of().key) is None
    assert reader.knowledge == Knowledge(None)
    assert table.status()[COMPLETE_AT] is None


def test_a_damaged_table_is_set_aside_and_the_door_takes_the_new_one(tmp_path: Path) -> None:
    fill_table(tmp_path, *(verdict_of(number) for number in range(2000)), confirmed_at=7)
    reader, table = opened(tmp_path), opened_table(tmp_path)
    damaged = bytearray((tmp_path / VERDICTS_FILE).read_bytes())
    damaged[20 << 12 :] = b"\xaa" * (len(damaged) - (20 << 12))
    reader.close()
    (tmp_path / VERDICTS_FILE).write_bytes(damaged)
    reader.open()
    assert not all(is_readable(reader, number) for number in range(2000))
    assert not table.is_whole
    with pytest.raises(TableReplacedError):
        table.write({}, {}, is_loading=False)
    for _ in range(2):  # one is kept, however often it happens
        table.open()
        table.begin("cluster/topic", 1)
        table.write(rows_of([verdict_of(1)]), {0: 1}, is_loading=True)
        table.complete()
        reader.poll()
        assert reader.find(verdict_of(1).key) == verdict_of(1)
        assert reader.find(verdict_of(2).key) is None
        table.set_status({CONFIRMED_AT: 9})
        reader.poll()
        assert reader.knowledge == Knowledge(9)
        assert len([path for path in tmp_path.glob("*.damaged-*") if not path.name.endswith(("-wal", "-shm"))]) == 1
        mark_of(tmp_path / VERDICTS_FILE).touch()


def test_a_value_that_decayed_is_not_acted_on_and_the_table_is_replaced(tmp_path: Path) -> None:
    fill_table(tmp_path, verdict_of(1), verdict_of(2))
    path = tmp_path / VERDICTS_FILE
    path.write_bytes(path.read_bytes().replace(b"mail1.contoso.example", b"mail2.contoso.example", 2))
    reader = opened(tmp_path)
    assert not (is_readable(reader, 1) and is_readable(reader, 2))
    assert mark_of(path).exists()


def test_a_table_of_another_format_is_made_anew(tmp_path: Path) -> None:
    fill_table(tmp_path, verdict_of())
    connection = sqlite3.connect(tmp_path / VERDICTS_FILE)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    table = opened_table(tmp_path)
    assert table.status() == {}
    assert len(list(tmp_path.glob("verdicts.db.damaged-*"))) >= 1


def test_the_door_knows_nothing_more_where_the_folder_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "edge"
    fill_table(folder, verdict_of(), confirmed_at=7)
    reader = opened(folder)
    shutil.rmtree(folder)
    reader.poll()
    assert reader.knowledge == Knowledge(None)
    assert reader.find(verdict_of().key) is None
    fill_table(folder, verdict_of(), confirmed_at=8)
    reader.poll()
    assert reader.find(verdict_of().key) == verdict_of()
    assert reader.knowledge == Knowledge(8)


def test_a_table_that_may_only_be_read_has_to_be_opened_again(tmp_path: Path) -> None:
    fill_table(tmp_path, verdict_of())
    reader = opened(tmp_path)
    with only_readable():
        table = opened_table(tmp_path)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            table.set_status({SYNC_ALIVE_AT: 1})
    assert not table.is_whole
    table.open()
    table.set_status({SYNC_ALIVE_AT: 1})
    assert is_readable(reader, 1)
    table.close()
    reader.close()
