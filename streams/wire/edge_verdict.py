"""Verdicts as an edge keeps them: from the record, to a few bytes on disk, and back in microseconds."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from streams.domain.edge import EdgeVerdict
from streams.domain.exchange.build import Build, parse_build
from streams.domain.policy.ladder import ScheduledStage

_HOUR_MINUTES: Final = 60
_CHECKSUM_BYTES: Final = 4
_LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, in UTC milliseconds: a reply cannot name a later moment."""


def edge_verdict_of_record(record: Mapping[str, Any], key: bytes) -> EdgeVerdict:
    """What an edge keeps of a decoded verdict that came with this key.

    Raises:
        ValueError: it belongs to another key, or a field has a value that no verdict has; the message names it.
    """
    required = record["required_build"]
    verdict = EdgeVerdict(
        *(record["tenant_id"], record["server"], record["revision"], record["stage"]),
        *(record["throttle_minutes_per_hour"], record["block_minutes_per_hour"]),
        tuple(
            ScheduledStage(
                *(item["stage"], item["starts_at"]),
                *(item["throttle_minutes_per_hour"], item["block_minutes_per_hour"]),
            )
            for item in record["schedule"]
        ),
        record["paused_until"],
        record["smtp_template_throttle"],
        record["smtp_template_block"],
        None if required is None else parse_build(required),
        record["is_mixed"],
    )
    if verdict.key.topic_key() != key:
        raise ValueError(
            f"tenant_id, server: {verdict.tenant_id}/{verdict.server}: the record's key is {key[:80]!r:.100}"
        )
    _check_rates((verdict.throttle_minutes_per_hour, verdict.block_minutes_per_hour), "")
    for place, item in enumerate(verdict.schedule):
        _check_rates(item[2:], f"schedule[{place}].")
    moments = [("paused_until", verdict.paused_until)] + [("starts_at", item.starts_at) for item in verdict.schedule]
    for name, moment in moments:
        if moment is not None and not 0 <= moment <= _LAST_MS:
            raise ValueError(f"{name}: {moment}: must be UTC milliseconds, at most {_LAST_MS}")
    if any(
        after.starts_at < item.starts_at for item, after in zip(verdict.schedule, verdict.schedule[1:], strict=False)
    ):
        raise ValueError(f"schedule: {[item.starts_at for item in verdict.schedule]}: must be in order of time"[:500])
    return verdict


def _check_rates(rates: Iterable[int], where: str) -> None:
    throttle, block = rates
    if throttle < 0 or block < 0 or throttle + block > _HOUR_MINUTES:
        name = f"{where}throttle_minutes_per_hour, {where}block_minutes_per_hour"
        raise ValueError(f"{name}: {throttle}, {block}: must be minutes of one hour")


def pack_edge_verdict(verdict: EdgeVerdict) -> bytes:
    """A verdict as it stands on disk: a checksum, for SQLite has none, and JSON."""
    text = orjson.dumps([*verdict[:6], [[*item] for item in verdict.schedule], *verdict[7:10], *_packed_end(verdict)])
    return zlib.crc32(text).to_bytes(_CHECKSUM_BYTES, "big") + text


def _packed_end(verdict: EdgeVerdict) -> tuple[list[int | None] | None, bool]:
    required = verdict.required_build
    return None if required is None else [*required], verdict.is_mixed


def unpack_edge_verdict(data: bytes) -> EdgeVerdict:
    """The verdict that `pack_edge_verdict` packed.

    Raises:
        ValueError: the bytes are damaged, or there are none.
    """
    text = data[_CHECKSUM_BYTES:]
    if zlib.crc32(text) != int.from_bytes(data[:_CHECKSUM_BYTES], "big") or not text:
        raise ValueError("a verdict's checksum is wrong")
    values = orjson.loads(text)
    values[6] = tuple([ScheduledStage(*item) for item in values[6]])
    if values[10] is not None:
        values[10] = Build(*values[10])
    return EdgeVerdict(*values)
