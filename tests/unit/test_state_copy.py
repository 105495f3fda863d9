"""A decision changes a copy of a server's state: it has every field, and the state stays as it is."""

from __future__ import annotations

from dataclasses import fields

from streams.domain.exchange.build import Build
from streams.domain.exchange.detection import Identity
from streams.domain.exchange.evidence import Evidence
from streams.domain.policy.judgement import Finding, Judgement
from streams.domain.policy.ladder import Clock
from streams.domain.policy.policy import ConnectorType
from streams.domain.server.stamps import Stamp
from streams.domain.server.state import Announced, ServerEnforcement
from streams.domain.tenant.override import Override

EVIDENCE = Evidence("line", 0, "mapi", "e1", "m1", "c1", "192.0.2.1", 1)
OTHER_THAN_NUMBERS = {
    "tenant_id": "t1",
    "server": "mx.example.com",
    "identity": Identity.STAMP,
    "connector_id": "c1",
    "connector_type": ConnectorType.ON_PREMISES,
    "source_ip": "192.0.2.1",
    "judgement": Judgement(Finding.OUT_OF_DATE, "old"),
    "judged_over": ConnectorType.PARTNER,
    "policy_id": "p1",
    "build": Build(15, 1, 2507, 39),
    "evidence": EVIDENCE,
    "recent_events": b"12345678",
    "clock": Clock(5, 6),
    "has_vanished": True,
    "is_report_due": True,
    "is_verdict_due": False,
    "override": Override(Build(15, 2, 2562, 17), 7),
    "without_override": Judgement(Finding.COMPLIANT, "new"),
    "announced": (Announced(8, True),),
    "stamps": (Stamp(Build(15, 1, 2507, 61), 9, "", "192.0.2.2"),),
    "accepted_build": Build(15, 1, 2507, 61),
    "accepted_evidence": EVIDENCE._replace(event_id="e2"),
}


def test_a_copy_has_every_field_and_changes_alone() -> None:
    names = [field.name for field in fields(ServerEnforcement)]
    values = {name: OTHER_THAN_NUMBERS.get(name, 100 + number) for number, name in enumerate(names)}
    state = ServerEnforcement(**values)  # type: ignore[arg-type]
    copied = state.copy()
    assert {name: getattr(copied, name) for name in names} == values
    copied.connections += 1
    assert state.connections == values["connections"]
