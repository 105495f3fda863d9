"""A notice about a server says which message showed the build that it is about."""

from __future__ import annotations

from streams.domain.tenant.commands import CommandKind
from streams.domain.time import DAY_MS
from streams.wire.codec import AvroCodec
from streams.wire.records import to_record
from streams.wire.registry import LocalRegistry
from tests.support.commands import command
from tests.support.episodes import DETECTED, GOOD, OLD, connection, row, run


def test_a_notice_rests_on_what_its_server_s_report_rests_on() -> None:
    found = run(connection(DETECTED), DETECTED + 40 * DAY_MS, connection(DETECTED + 41 * DAY_MS, GOOD))
    *enforced, resolved = found.results.notifications
    assert [note.kind for note in enforced][:1] == ["SERVER_DETECTED"]
    assert len(enforced) > 1
    first = found.results.verdicts[0].evidence
    assert first is not None
    assert OLD in (first.received or "")
    assert {note.evidence for note in enforced} == {first}
    assert resolved.evidence == row(found).evidence
    assert GOOD in (row(found).evidence or first).received  # type: ignore[operator]


def test_a_notice_that_rests_on_no_message_has_none() -> None:
    found = run(connection(DETECTED))
    found.command(command(CommandKind.PAUSE_CREATE, DETECTED + DAY_MS, days=30))
    (begun,) = (note for note in found.results.notifications if note.kind == "PAUSE_STARTED")
    assert begun.evidence is None


def test_a_record_without_evidence_is_read_as_one_that_has_none_and_with_it_comes_back_whole() -> None:
    codec = AvroCodec("admin_notification", LocalRegistry())
    (note,) = run(connection(DETECTED)).results.notifications
    record = to_record(note)
    assert record["evidence"]["observed_at"] == DETECTED
    assert codec.decode(codec.encode(record)) == record
    assert codec.decode(codec.encode(record | {"evidence": None}))["evidence"] is None
