"""The second part of a server's row, which few connections change: a JSON array."""

from __future__ import annotations

from typing import Any

import orjson

from streams.domain.exchange.build import parse_build
from streams.domain.exchange.catalogue import Remedy
from streams.domain.exchange.detection import Identity
from streams.domain.exchange.evidence import Evidence
from streams.domain.policy.judgement import Finding, Judgement
from streams.domain.policy.ladder import Clock
from streams.domain.policy.policy import ConnectorType
from streams.domain.server.state import Announced, ServerEnforcement
from streams.domain.tenant.override import Override
from streams.state.orders import DETAIL_FIELDS, EVIDENCE_FIELDS, details_of, evidence_of
from streams.state.row_format import read_json


def encode_details(state: ServerEnforcement) -> bytes:
    """The second part of the row of a state."""
    override = state.override
    written = orjson.dumps(
        [
            *details_of(state),
            state.identity,
            _judgement_list(state.judgement),
            None if state.evidence is None else evidence_of(state.evidence),
            [state.clock.elapsed_ms, state.clock.as_of],
            None if override is None else [str(override.build), override.ends_at],
            None if state.without_override is None else _judgement_list(state.without_override),
            [[known.switch_at, known.is_told] for known in state.announced],
            None if state.accepted_build is None else str(state.accepted_build),
            None if state.accepted_evidence is None else evidence_of(state.accepted_evidence),
        ]
    )
    # What it gives keeps the memory that it was written into, four times what it needs.
    return bytes(memoryview(written))


def decode_details(value: bytes) -> ServerEnforcement:
    """The state of a second part; what the first part of the row holds is left empty.

    Raises:
        StoreError: it is corrupt.
    """
    content: list[Any] = read_json(value)
    plain, rest = content[: len(DETAIL_FIELDS)], content[len(DETAIL_FIELDS) :]
    identity, judged, evidence, clock, override, without_override, announced, accepted_build, accepted_evidence = rest
    elapsed_ms, as_of = clock
    return ServerEnforcement(
        **dict(zip(DETAIL_FIELDS, plain, strict=True)),
        identity=Identity(identity),
        judgement=_judgement(judged),
        evidence=_evidence(evidence),
        clock=Clock(elapsed_ms=elapsed_ms, as_of=as_of),
        override=None if override is None else Override(build=parse_build(override[0]), ends_at=override[1]),
        without_override=None if without_override is None else _judgement(without_override),
        announced=tuple(Announced(switch_at=switch_at, is_told=is_told) for switch_at, is_told in announced),
        accepted_build=None if accepted_build is None else parse_build(accepted_build),
        accepted_evidence=_evidence(accepted_evidence),
        # The rest stands in the first part of the row.
        last_seen_at=0,
        clock_at=0,
        judged_at=0,
        connector_id="",
        source_ip="",
        connector_type=ConnectorType.NONE,
        judged_over=ConnectorType.NONE,
    )


def _evidence(content: list[Any] | None) -> Evidence | None:
    return None if content is None else Evidence(**dict(zip(EVIDENCE_FIELDS, content, strict=True)))


def _judgement_list(judged: Judgement) -> list[Any]:
    required, remedy = judged.required_build, judged.remedy
    return [
        judged.finding,
        judged.reason,
        None if required is None else str(required),
        None if remedy is None else [remedy.name, remedy.kb],
        judged.cves,
        judged.would_be,
    ]


def _judgement(content: list[Any]) -> Judgement:
    finding, reason, required, remedy, cves, would_be = content
    return Judgement(
        finding=Finding(finding),
        reason=reason,
        required_build=None if required is None else parse_build(required),
        remedy=None if remedy is None else Remedy(name=remedy[0], kb=remedy[1]),
        cves=tuple(cves),
        would_be=None if would_be is None else Finding(would_be),
    )
