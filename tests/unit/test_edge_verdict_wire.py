"""What an edge keeps of a verdict: from its record, to bytes and back."""

from __future__ import annotations

from typing import Any

import pytest

from streams.wire.edge_verdict import edge_verdict_of_record, pack_edge_verdict, unpack_edge_verdict
from tests.support.edge_files import BLOCK, THROTTLE, verdict_of


def record_of(**changes: Any) -> dict[str, Any]:
    stages = [
        {"stage": 3, "starts_at": 1_900_000_000_000, "throttle_minutes_per_hour": 20, "block_minutes_per_hour": 5},
        {"stage": 4, "starts_at": 1_910_000_000_000, "throttle_minutes_per_hour": 20, "block_minutes_per_hour": 10},
    ]
    return {
        "tenant_id": "contoso",
        "server": "mail1.contoso.example",
        "revision": 1,
        "stage": 2,
        "throttle_minutes_per_hour": 10,
        "block_minutes_per_hour": 0,
        "schedule": stages,
        "paused_until": None,
        "smtp_template_throttle": THROTTLE,
        "smtp_template_block": BLOCK,
        "required_build": "15.1.2507.44",
        "is_mixed": False,
        **changes,
    }


KEY = b"contoso/mail1.contoso.example"


def test_a_record_gives_the_verdict() -> None:
    assert edge_verdict_of_record(record_of(), KEY) == verdict_of()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"server": "mail2.contoso.example"}, r"tenant_id, server: contoso/mail2.contoso.example: the record's key is"),
        ({"required_build": "15"}, r"build '15'"),
        ({"throttle_minutes_per_hour": 61}, r"throttle_minutes_per_hour, block_minutes_per_hour: 61, 0"),
        ({"block_minutes_per_hour": -1}, r"10, -1: must be minutes of one hour"),
        ({"schedule": record_of()["schedule"][::-1]}, r"schedule: \[1910000000000, 1900000000000\]: must be in order"),
        (
            {"schedule": [record_of()["schedule"][0] | {"block_minutes_per_hour": 41}]},
            r"schedule\[0\].throttle_minutes_per_hour, schedule\[0\].block_minutes_per_hour: 20, 41",
        ),
    ],
)
def test_a_record_that_is_no_verdict_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        edge_verdict_of_record(record_of(**changes), KEY)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"required_build": None},
        {"required_build": verdict_of().required_build, "schedule": (), "paused_until": 5, "is_mixed": True},
        {"server": "h\u00e9lo:\u202e", "smtp_template_throttle": None, "smtp_template_block": None},
    ],
)
def test_packed_and_unpacked_it_is_the_same(changes: dict[str, Any]) -> None:
    verdict = verdict_of()._replace(**changes)
    found = unpack_edge_verdict(pack_edge_verdict(verdict))
    assert found == verdict
    assert [type(value) for value in found] == [type(value) for value in verdict]
    assert found.can_act


def test_damage_of_any_byte_is_noticed() -> None:
    packed = pack_edge_verdict(verdict_of())
    for place in range(len(packed)):
        damaged = bytearray(packed)
        damaged[place] ^= 4
        with pytest.raises(ValueError, match="checksum"):
            unpack_edge_verdict(bytes(damaged))


@pytest.mark.parametrize("data", [b"", b"\0\0\0\0", b"abc"])
def test_no_bytes_are_no_verdict(data: bytes) -> None:
    with pytest.raises(ValueError, match="checksum"):
        unpack_edge_verdict(data)


@pytest.mark.parametrize("moment", [-1, 253_402_300_800_000, 1 << 62])
def test_a_moment_that_no_reply_can_name_is_refused(moment: int) -> None:
    stage = {"stage": 3, "starts_at": moment, "throttle_minutes_per_hour": 20, "block_minutes_per_hour": 5}
    with pytest.raises(ValueError, match=f"starts_at: {moment}: must be UTC milliseconds"):
        edge_verdict_of_record(record_of(schedule=[stage]), KEY)
    with pytest.raises(ValueError, match=f"paused_until: {moment}: must be UTC milliseconds"):
        edge_verdict_of_record(record_of(paused_until=moment), KEY)
