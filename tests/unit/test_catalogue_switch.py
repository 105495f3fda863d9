"""A server between two catalogues: what each says of it, from which moment on, and who is told beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streams.domain.exchange.build import parse_build
from streams.domain.exchange.tables import Tables, catalogue_of
from streams.domain.policy.judgement import Finding
from streams.domain.policy.policy import ConnectorType, CriticalPatches, Policy
from streams.domain.policy.rulebook import PublishedCatalogue, Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.tenant.audit import CommandOutcome
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.time import DAY_MS, HOUR_MS, MINUTE_MS
from streams.domain.whatif import predict, with_catalogue
from streams.engine.partition.view import StateView
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.settings.worker import Settings
from streams.testing import FakeRecord, MemoryStore
from streams.wire.codec import AvroCodec
from streams.wire.fast_headers import fast_headers
from streams.wire.policy import from_millis
from streams.wire.records import parse_moment, to_record
from streams.wire.registry import LocalRegistry
from streams.worker.processor import InputProcessor
from streams.worker.wiring import record_channels
from tests.support.catalogues import GOOD, NEW_BUILD, NEW_CVE, published, tables
from tests.support.episodes import connection

S = parse_moment("at", "2026-11-10T00:00:00Z")
NOON = S + 12 * HOUR_MS
"""Within a day: a judgement holds for a day at most."""
FLOORS = read_policy("microsoft-2026-09")
STRICT = replace(FLOORS, policy_id="strict", critical_patches=CriticalPatches(0))
SOUND = catalogue_of(tables(build=None))
WITH_HOLE = tables()


def rules(*catalogues: PublishedCatalogue, policies: tuple[Policy, ...] = (STRICT,)) -> Rulebook:
    return Rulebook(policies, SOUND, catalogues=catalogues)


def run(rulebook: Rulebook, *steps: InboundConnection | AdminCommand | int) -> Simulation:
    simulation = Simulation(rulebook)
    for step in steps:
        match step:
            case int():
                simulation.advance(step)
            case AdminCommand():
                simulation.command(step)
            case _:
                simulation.feed(step)
    return simulation


def stages(found: Simulation) -> list[tuple[int, int, str]]:
    return [(row.issued_at - S, row.stage, row.finding.value) for row in found.results.verdicts]


def finding(rulebook: Rulebook, at: int, build: str = GOOD) -> Finding:
    return rulebook.judge(parse_build(build), at, ConnectorType.ON_PREMISES, "contoso").finding


def test_the_newest_catalogue_that_has_begun_judges_and_the_builtin_one_before() -> None:
    one, two = published(1, S, WITH_HOLE), published(2, S + DAY_MS, tables(build=None))
    rulebook = rules(two, one)
    moments = (S - 1, S, S + DAY_MS - 1, S + DAY_MS)
    assert [finding(rulebook, at).value for at in moments] == ["COMPLIANT", "OUT_OF_DATE", "OUT_OF_DATE", "COMPLIANT"]
    assert [rulebook.catalogue_version_at(at) for at in moments] == [0, 1, 1, 2]
    assert [rulebook.catalogue_at(at) for at in moments] == [SOUND, one.catalogue, one.catalogue, two.catalogue]
    assert [rulebook.next_switch_after(at) for at in moments] == [S, S + DAY_MS, S + DAY_MS, None]
    assert [rulebook.last_switch_at(at) for at in moments] == [0, S, S, S + DAY_MS]


def test_policies_and_catalogues_switch_in_one_order() -> None:
    later = replace(FLOORS, version=2, effective_at=from_millis(S + DAY_MS))
    rulebook = rules(published(1, S, WITH_HOLE), published(2, S + DAY_MS, WITH_HOLE), policies=(STRICT, later))
    assert [switch for _, switch in rulebook.switches_after(0)] == [S, S + DAY_MS]
    assert rulebook.fingerprint.endswith(f"/2@{S + DAY_MS},catalogue 1@{S},catalogue 2@{S + DAY_MS}")


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ((2, S), "effective_at: .*: catalogues 1 and 2 both take effect"),
        ((1, S + 1), "version: 1: two catalogues have"),
    ],
)
def test_catalogues_that_cannot_stand_together_are_refused(second: tuple[int, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rules(published(1, S, WITH_HOLE), published(*second, WITH_HOLE))


def test_a_server_falls_below_at_its_first_connection_and_is_released_at_the_very_switch() -> None:
    found = run(
        rules(published(1, S, WITH_HOLE), published(2, S + 40 * DAY_MS, tables(build=None))),
        *(connection(S - DAY_MS, GOOD), S + HOUR_MS, connection(S + DAY_MS, GOOD), S + 50 * DAY_MS),
    )
    assert stages(found) == [
        (DAY_MS, 1, "OUT_OF_DATE"),
        (31 * DAY_MS, 2, "OUT_OF_DATE"),
        (40 * DAY_MS, 0, "COMPLIANT"),
    ]
    first = found.results.verdicts[0]
    assert (first.cves, str(first.required_build)) == ((NEW_CVE,), NEW_BUILD)
    assert first.remedy is not None
    assert first.remedy.kb == "KB5099999"


def test_a_server_in_an_episode_gets_the_new_remedy_at_the_switch_and_keeps_its_dates() -> None:
    found = run(rules(published(1, S, WITH_HOLE)), connection(S - 10 * DAY_MS, "15.1.2507.39"), S + HOUR_MS)
    before, after = found.results.verdicts
    assert (str(before.required_build), str(after.required_build)) == (GOOD, NEW_BUILD)
    assert (after.issued_at, after.stage, after.detected_at) == (S, 1, before.detected_at)
    assert [row.starts_at for row in after.schedule] == [row.starts_at for row in before.schedule]


def test_a_catalogue_that_changes_nothing_for_a_server_gives_no_verdict() -> None:
    found = run(
        rules(published(1, S, WITH_HOLE), policies=(FLOORS,)),
        *(connection(S - 10 * DAY_MS, "15.1.2507.39"), connection(S + HOUR_MS, "15.1.2507.39"), S + DAY_MS),
    )
    assert len(found.results.verdicts) == 1


def test_servers_that_will_fall_below_are_announced_at_publication() -> None:
    found = run(rules(published(1, S, WITH_HOLE, S - 5 * DAY_MS)), connection(S - 20 * DAY_MS, GOOD), S + HOUR_MS)
    (note,) = [note for note in found.results.notifications if note.kind == "POLICY_ANNOUNCED"]
    assert (note.occurred_at, note.next_stage_at) == (S - 5 * DAY_MS, S)
    assert note.text.startswith(
        "A new catalogue of builds and vulnerabilities takes effect at 2026-11-10T00:00:00.000Z, under policy strict "
    )
    assert NEW_CVE in note.text


def test_an_announcement_follows_from_what_was_published_by_then() -> None:
    """The policy was announced before the catalogue that lets a server fall below it: live and replay agree."""
    strict = replace(STRICT, version=2, effective_at=from_millis(S), published_at=from_millis(S - 20 * DAY_MS))
    lenient = replace(FLOORS, policy_id="lenient", effective_at=from_millis(S - 900 * DAY_MS))
    catalogue = published(1, S - DAY_MS, WITH_HOLE, S - 2 * DAY_MS)
    seen = connection(S - 30 * DAY_MS, GOOD), S - 3 * DAY_MS
    live, replayed = (run(rules(*more, policies=(lenient, strict)), *seen) for more in ((), (catalogue,)))
    assert live.results.notifications == replayed.results.notifications
    assert [known.is_told for state in replayed.states.values() for known in state.announced] == [False]
    assert finding(rules(catalogue, policies=(lenient, strict)), S) is Finding.OUT_OF_DATE


def test_an_override_may_name_what_the_catalogue_of_its_moment_has() -> None:
    def overriding(at: int) -> AdminCommand:
        return AdminCommand(
            f"c{at}",
            "contoso",
            at,
            "op",
            Role.OPERATOR,
            CommandKind.OVERRIDE_BUILD,
            server="mx1.example.com",
            reason="wrong stamp",
            build=NEW_BUILD,
            expires_at=at + 100 * DAY_MS,
        )

    seen = connection(S - DAY_MS, GOOD)
    found = run(rules(published(1, S, WITH_HOLE)), seen, overriding(S - 1), overriding(S))
    assert [row.outcome for row in found.results.audit] == [CommandOutcome.REFUSED, CommandOutcome.ACCEPTED]
    assert f"build: {NEW_BUILD}: is not in the catalogue" in str(found.results.audit[0].reason)


def test_a_report_names_the_build_by_the_catalogue_in_force() -> None:
    named = tables()
    number = "15.1.2507.61"
    rows = tuple(row | {"update": "Renamed"} if row["build"] == number else row for row in named.rows["builds"])
    renamed = Tables({**named.rows, "builds": rows}, named.places)
    found = run(
        rules(published(1, S, renamed), policies=(FLOORS,)), connection(S - HOUR_MS), connection(S + DAY_MS, GOOD)
    )
    (row,) = found.results.servers.values()
    assert row.build_name == "Exchange Server 2016 CU23 Renamed"


def test_what_if_foresees_what_a_catalogue_then_does() -> None:
    before = run(rules(), connection(S - DAY_MS, GOOD), S - 1)
    (row,) = before.results.servers.values()
    other = Rulebook((STRICT,), SOUND, catalogues=with_catalogue((), catalogue_of(WITH_HOLE), from_millis(S)))
    outlook = predict(row, rules(), other, S)
    after = run(other, connection(S - DAY_MS, GOOD), connection(S, GOOD))
    (state,) = after.states.values()
    assert (outlook.before.finding, outlook.before.stage) == ("COMPLIANT", 0)
    assert (outlook.after.finding, outlook.after.stage) == (state.finding, state.stage)
    assert outlook.remedy == state.judgement.remedy
    assert outlook.remedy is not None
    assert outlook.is_change


def _after_a_tick_at_the_switch(rulebook: Rulebook) -> list[dict[str, Any]]:
    """A worker's verdicts over a server that is counted, a tick at the switch, and a connection right behind it."""
    wires, registry = record_channels(Settings()), LocalRegistry()
    codec, store = AvroCodec("inbound_connection", registry), MemoryStore()
    processor = InputProcessor(lambda: rulebook, wires, fast_headers(registry), NOON + DAY_MS)
    moments = [
        NOON - 20 * MINUTE_MS,
        NOON - 10 * MINUTE_MS,
        NOON - 5 * MINUTE_MS,
        NOON + MINUTE_MS,
        NOON + 2 * MINUTE_MS,
    ]
    outputs = []
    for offset, at in enumerate(moments):
        view = StateView(store)
        processor.begin(view)
        processor.on_tick(view, NOON if at > NOON else 0, 100)
        value = codec.encode(to_record(connection(at, GOOD)))
        record = FakeRecord(wires.connections_topic, offset, 0, b"contoso", value)
        assert processor.on_records(view, [record], None) == 1
        processor.finish(view)
        store.write(view.changes)
        outputs += [wires.verdicts.decode(item.value) for item in view.outputs if item.topic == wires.verdicts_topic]
    return outputs


@pytest.mark.parametrize(
    "rulebook",
    [
        rules(published(1, NOON, WITH_HOLE)),
        Rulebook((FLOORS, replace(STRICT, effective_at=from_millis(NOON))), catalogue_of(WITH_HOLE)),
    ],
    ids=["catalogue", "policy"],
)
def test_a_connection_behind_a_switch_is_judged_even_where_it_would_only_be_counted(rulebook: Rulebook) -> None:
    assert [(row["issued_at"] - NOON, row["stage"]) for row in _after_a_tick_at_the_switch(rulebook)] == [
        (MINUTE_MS, 1)
    ]


def test_the_shipped_catalogue_is_used_where_none_is_published() -> None:
    assert Rulebook((FLOORS,), shipped_catalogue()).catalogue_at(S) is shipped_catalogue()
