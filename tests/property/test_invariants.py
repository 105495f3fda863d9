"""The invariants, over random lives of servers."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.domain.policy.judgement import Finding
from streams.domain.policy.ladder import Action, Clock, schedule
from streams.domain.policy.policy import ConnectorType
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.time import DAY_MS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.records import to_json_line, to_record

START = 1_780_272_000_000
POLICY = replace(read_policy("microsoft-2026-09"), policy_id="today")
RAISED = replace(
    read_policy("microsoft-2023"), policy_id="earlier", effective_at=POLICY.effective_at.replace(month=6, day=1)
)
BUILDS = ("15.1.2507.39", "15.1.2507.61", "15.1.2507.23", "15.2.2562.17", "14.3.123.4", None)


def event(number: int, day: float, build: str | None, server: int, connector: ConnectorType) -> InboundConnection:
    stamp = f"with Microsoft SMTP Server id {build}" if build else "with ESMTPS id 1"
    return InboundConnection(
        event_id=f"e{number}",
        observed_at=START + round(day * DAY_MS),
        tenant_id="tenant",
        connector_id="c",
        connector_type=connector,
        source_ip="192.0.2.1",
        helo="h",
        received=(f"from a by mx{server}.example {stamp}; Mon",),
    )


CONNECTORS = st.sampled_from((ConnectorType.ON_PREMISES, ConnectorType.ON_PREMISES, ConnectorType.PARTNER))
STEPS = st.lists(
    st.tuples(st.floats(0, 300), st.sampled_from(BUILDS), st.integers(0, 1), CONNECTORS), min_size=1, max_size=25
)


def run(steps: list[tuple[float, str | None, int, ConnectorType]], again_from: int | None = None) -> Simulation:
    simulation = Simulation(Rulebook((RAISED, POLICY), shipped_catalogue()))
    events = [event(number, *step) for number, step in enumerate(steps)]
    for one in events + (events[again_from:] if again_from is not None else []):
        simulation.feed(one)
    simulation.advance(START + 420 * DAY_MS)
    return simulation


def lines(simulation: Simulation) -> list[bytes]:
    results = simulation.results
    rows = [*results.verdicts, *results.notifications, *results.servers.values()]
    return [to_json_line(to_record(row)) for row in rows]


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_invariant_1_the_same_input_gives_the_same_bytes(
    steps: list[tuple[float, str | None, int, ConnectorType]],
) -> None:
    assert lines(run(steps)) == lines(run(steps))


@settings(max_examples=400, deadline=None)
@given(STEPS)
def test_invariant_2_stages_never_go_back_and_compliant_servers_are_never_touched(
    steps: list[tuple[float, str | None, int, ConnectorType]],
) -> None:
    before: dict[str, tuple[int, int | None]] = {}
    for verdict in run(steps).results.verdicts:
        if verdict.stage and verdict.server in before:
            stage, detected_at = before[verdict.server]
            assert verdict.detected_at != detected_at or verdict.stage >= stage
        if verdict.stage:
            before[verdict.server] = (verdict.stage, verdict.detected_at)
        if verdict.finding is Finding.COMPLIANT:
            assert (verdict.action, verdict.schedule) == (Action.ACCEPT, ())


@settings(max_examples=400, deadline=None)
@example(
    [
        (0.0, "14.3.123.4", 0, ConnectorType.ON_PREMISES),
        (40.0, "15.1.2507.39", 0, ConnectorType.PARTNER),
        (0.0, "15.1.2507.39", 0, ConnectorType.ON_PREMISES),
        (0.0, "14.3.123.4", 0, ConnectorType.ON_PREMISES),
    ]
)
@given(STEPS)
def test_invariant_4_every_stage_begins_when_the_verdict_before_it_said(
    steps: list[tuple[float, str | None, int, ConnectorType]],
) -> None:
    announced: dict[tuple[str, int], int] = {}
    results = run(steps).results
    for verdict in results.verdicts:
        if verdict.stage > 1 and verdict.effective_at == announced.get((verdict.server, verdict.stage)):
            assert [stage.stage for stage in verdict.schedule] == list(range(verdict.stage + 1, 9))
        for stage in verdict.schedule:
            announced[verdict.server, stage.stage] = stage.starts_at
    for note in results.notifications:
        if note.kind == "STAGE_ENTERED":
            # Where a late connection begins an episode anew, its stages are told later than they began.
            assert any(
                verdict.stage == note.stage and verdict.effective_at == note.occurred_at <= verdict.issued_at
                for verdict in results.verdicts
            )
    first = results.verdicts[0] if results.verdicts else None
    if first is not None and first.stage == 1 and first.detected_at is not None:
        dates = [stage.starts_at for stage in schedule(POLICY.ladder, Clock(0, first.detected_at))]
        assert [stage.starts_at for stage in first.schedule] == dates[1:]


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(0, 24))
def test_invariant_5_a_suffix_processed_again_changes_nothing(
    steps: list[tuple[float, str | None, int, ConnectorType]], start: int
) -> None:
    assert lines(run(steps, start)) == lines(run(steps))
