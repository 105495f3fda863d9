"""Who waits for the outcome of a command gets its own, whatever else the audit topic holds."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from streams.domain.tenant.audit import AuditRecord, CommandOutcome
from streams.domain.tenant.commands import CommandKind
from streams.kafka.unread import UnreadBatch
from streams.operations.outcomes import PendingOutcomes, parse_outcome
from streams.testing import FakeRecord
from streams.wire.codec import AvroCodec
from streams.wire.records import to_record
from streams.wire.registry import LocalRegistry, RegistryError
from tests.support.hanging_registry import HangingRegistry

CODEC = AvroCodec("audit_record", LocalRegistry())
AUDIT = AuditRecord(
    audit_id="a",
    command_id="one",
    tenant_id="t",
    kind=CommandKind.PAUSE_CREATE,
    outcome=CommandOutcome.ACCEPTED,
    reason=None,
    issued_by="admin",
    occurred_at=1_700_000_000_000,
    quota_left_days=85,
    before=None,
    after="{}",
)


def record(audit: AuditRecord) -> FakeRecord:
    return FakeRecord("audit", 0, 0, audit.tenant_id.encode(), CODEC.encode(to_record(audit)))


@pytest.mark.parametrize("audit", [AUDIT, replace(AUDIT, command_id=None, outcome=CommandOutcome.REFUSED, reason="no")])
def test_an_audit_record_comes_back_as_it_was(audit: AuditRecord) -> None:
    assert parse_outcome(CODEC, record(audit)) == audit


@pytest.mark.parametrize("value", [b"?", b"", None, CODEC.encode(to_record(AUDIT))[:-1]])
def test_what_is_no_audit_record_is_named_and_left_out(value: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    assert parse_outcome(CODEC, FakeRecord("audit", 7, 0, b"t", value)) is None
    assert "audit: offset 7 is not an audit record: " in caplog.text


def test_each_gets_its_own_outcome_and_others_are_left_out() -> None:
    async def scenario() -> None:
        pending = PendingOutcomes(CODEC)
        with (
            pending.expect(b"t", "one") as one,
            pending.expect(b"t", "two") as two,
            pending.expect(b"u", "one") as other,
        ):
            await pending.take([FakeRecord("audit", 0, 0, b"t", b"?"), record(replace(AUDIT, command_id=None))])
            await pending.take([UnreadBatch("audit", 0, 1, 1, bytes(16) + b"\2" + bytes(44), ValueError("damaged"))])
            assert not any(future.done() for future in (one, two, other))
            second = replace(AUDIT, command_id="two")
            await pending.take([record(second), record(AUDIT), record(replace(AUDIT, reason="again"))])
            assert (one.result(), two.result()) == (AUDIT, second)
            assert not other.done()

    asyncio.run(scenario())


def test_records_of_tenants_that_nobody_waits_for_are_not_decoded(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        pending = PendingOutcomes(CODEC)
        bad = FakeRecord("audit", 3, 0, b"t", b"?")
        await pending.take([bad])
        with pending.expect(b"other", "one"):
            await pending.take([bad])
        assert not caplog.text
        with pending.expect(b"t", "one"):
            await pending.take([bad])
        assert "offset 3 is not an audit record" in caplog.text

    asyncio.run(scenario())


def test_a_reader_that_fails_fails_all_who_wait() -> None:
    async def scenario() -> None:
        pending = PendingOutcomes(CODEC)
        with pending.expect(b"t", "one") as one, pending.expect(b"u", "two") as two:
            pending.fail(OSError("gone"))
            for future in (one, two):
                with pytest.raises(OSError, match="gone"):
                    await future

    asyncio.run(scenario())


def test_others_go_on_while_the_registry_is_asked() -> None:
    async def scenario() -> None:
        registry = HangingRegistry(asyncio.get_running_loop())
        pending = PendingOutcomes(AvroCodec("audit_record", registry))
        foreign = FakeRecord("audit", 0, 0, b"t", b"\x00" + (4242).to_bytes(4, "big"))
        with pending.expect(b"t", "one"):
            taking = asyncio.create_task(pending.take([foreign]))
            await registry.is_asked.wait()
            assert registry.is_hanging
            registry.may_answer.set()
            with pytest.raises(RegistryError):
                await taking

    asyncio.run(scenario())
