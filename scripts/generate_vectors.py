"""Makes the vectors by which an edge in any language checks itself: verdicts, moments, what to do and what to answer.

.venv/bin/python scripts/generate_vectors.py --out docs/reference/action-vectors.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from streams.domain.edge import action_at, hour_offset, reply_at
from streams.domain.exchange.build import parse_build
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.ladder import Action, ScheduledStage, strongest
from streams.domain.policy.policy import ConnectorType, Mode, Policy, Stage
from streams.domain.policy.rulebook import Rulebook, Service
from streams.domain.server.connection import InboundConnection
from streams.domain.server.render import with_replies
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.time import DAY_MS, MINUTE_MS, iso
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.records import parse_moment, to_json, to_record

DETECTED = parse_moment("detected", "2026-09-01T00:15:08Z")
POLICY = replace(
    read_policy("microsoft-2026-09"), policy_id="vectors", effective_at=datetime(2026, 1, 1, tzinfo=UTC), rollout={}
)
OLD, UNSUPPORTED, GOOD = "15.1.2507.39", "15.0.1497.48", "15.1.2507.61"
SHOWN = (
    *("tenant_id", "server", "stage", "throttle_minutes_per_hour", "block_minutes_per_hour", "schedule"),
    *("paused_until", "smtp_template_throttle", "smtp_template_block"),
)


def policy_from(day: int, **changed: Any) -> Policy:
    """The policy with changes, in force from so many days after the detection."""
    begins = datetime.fromtimestamp(DETECTED / 1000, UTC) + timedelta(days=day)
    return replace(POLICY, policy_id=f"from-day-{day}", effective_at=begins, **changed)


def verdicts_of(*policies: Policy, build: str = OLD, pause: tuple[int, int] | None = None) -> list[Verdict]:
    """The verdicts about a server that shows `build` once; `pause` is the day of the command and how many it asks."""
    simulation = Simulation(Rulebook(policies or (POLICY,), shipped_catalogue()))
    line = f"from a by mx1.example.com (192.0.2.1) with Microsoft SMTP Server id {build}; Tue, 1 Sep 2026"
    connector = ConnectorType.ON_PREMISES
    simulation.feed(InboundConnection("e1", DETECTED, "contoso", "c", connector, "192.0.2.1", "mx1", (line,)))
    if pause is not None:
        at = DETECTED + pause[0] * DAY_MS
        simulation.advance(at)
        kind = CommandKind.PAUSE_CREATE
        simulation.command(AdminCommand("c1", "contoso", at, "admin", Role.TENANT_ADMIN, kind, pause[1]))
    else:
        simulation.advance(DETECTED + 100 * DAY_MS)
    return simulation.results.verdicts


def named(verdict: Verdict, tenant: str, server: str, service: Service | None = None) -> Verdict:
    """The same verdict about another server."""
    return with_replies(verdict._replace(tenant_id=tenant, server=server), service or Service(), verdict.build)


def at_stage(verdicts: list[Verdict], stage: int) -> Verdict:
    """The first verdict of a stage."""
    return next(verdict for verdict in verdicts if verdict.stage == stage)


def minutes_of(verdict: Verdict) -> list[int]:
    """Where rates and actions turn: each change, the moment before it, and the first minute of each action."""
    turns = [stage.starts_at for stage in verdict.schedule]
    turns += [] if verdict.paused_until is None else [verdict.paused_until]
    found = {moment for turn in turns for moment in (turn - 1, turn)}
    for begin in (verdict.effective_at, *turns):
        kinds: dict[Action, int] = {}
        for minute in range(60):
            kinds.setdefault(action_at(verdict, begin + minute * MINUTE_MS), begin + minute * MINUTE_MS)
        found |= set(kinds.values())
    return sorted(found)


def every_turn(verdict: Verdict) -> list[int]:
    """In the three hours of a short schedule, the first and the last minute of each rate that any stage has."""
    offset = hour_offset(verdict.key)
    minutes = sorted((offset + place) % 60 for place in (0, 4, 5, 19, 20, 34, 35, 59))
    return [verdict.effective_at + (hour * 60 + minute) * MINUTE_MS for hour in range(3) for minute in minutes]


def vector(says: str, verdict: Verdict, moments: list[int]) -> dict[str, Any]:
    """One vector."""
    shown = to_json(to_record(verdict))
    cases = [{"at": iso(at), "action": action_at(verdict, at).value, "reply": reply_at(verdict, at)} for at in moments]
    return {"says": says, "verdict": {name: shown[name] for name in SHOWN}, "cases": cases}


def short(tenant: str, server: str, paused_until: str | None = None) -> Verdict:
    """A verdict whose stages follow each other by the hour."""
    noon = parse_moment("noon", "2026-09-01T12:00:00Z")
    base = verdicts_of()[0]
    stages = (
        ScheduledStage(5, noon + 60 * MINUTE_MS, 30, 5),
        ScheduledStage(8, noon + 120 * MINUTE_MS, 0, 60),
    )
    until = None if paused_until is None else parse_moment("paused_until", paused_until)
    rates = 0 if until else 20
    changed = base._replace(
        stage=4, effective_at=noon, throttle_minutes_per_hour=rates, schedule=stages, paused_until=until
    )
    return named(changed._replace(action=strongest(rates, 0)), tenant, server)


def vectors() -> Iterator[dict[str, Any]]:
    """All of them."""
    for tenant, server in (("contoso", "mx1.example.com"), ("fabrikam", "helo:mail"), ("tenant-1", "ip:192.0.2.1")):
        verdict = short(tenant, server)
        yield vector(f"stages by the hour, {server}", verdict, every_turn(verdict))
        paused = short(tenant, server, "2026-09-01T14:30:00Z")
        moments = [parse_moment("at", f"2026-09-01T14:{at}Z") for at in ("29:59", "29:59.999", "30:00")]
        yield vector(f"paused beyond the last stage, {server}", paused, moments)
    steps = verdicts_of()
    first, third, last = (at_stage(steps, stage) for stage in (1, 3, 8))
    yield vector("every later stage, before the first block", first, minutes_of(first))
    yield vector("stage 3 of 8: no block yet", third, minutes_of(third))
    yield vector("last stage: no next date", last, minutes_of(last))
    paused = verdicts_of(pause=(45, 20))[-1]
    yield vector("paused in stage 3 for 20 days", paused, minutes_of(paused))
    still = at_stage(verdicts_of(POLICY, policy_from(45, mode=Mode.REPORT), policy_from(52)), 3)
    yield vector("enforcement ends on day 45 and goes on on day 52", still, minutes_of(still))
    turn = at_stage(verdicts_of(POLICY, policy_from(40, mode=Mode.REPORT), policy_from(52)), 2)
    yield vector("enforcement ends at the very moment at which stage 3 begins", turn, minutes_of(turn))
    steady = verdicts_of(replace(POLICY, ladder=(Stage(0, 0, 0), Stage(10, 0, 0), Stage(20, 30, 0))))[0]
    yield vector("a stage without minutes between, and a last stage that throttles", steady, minutes_of(steady))
    gone = at_stage(verdicts_of(build=UNSUPPORTED), 7)
    yield vector("no build of the product is accepted any more", gone, minutes_of(gone))
    fine = named(first._replace(stage=0, build=parse_build(GOOD), schedule=()), "contoso", "mx2.example.com")
    fine = fine._replace(smtp_template_throttle=None, smtp_template_block=None)
    yield vector("not in an episode", fine, [DETECTED, DETECTED + 100 * DAY_MS])
    middle = at_stage(steps, 5)
    for says, server in (
        ("a name as long as a name may be", f"mx1.{'a' * 63}.{'b' * 63}.{'c' * 63}.{'d' * 50}.example"),
        ("a greeting with placeholders and a format", "helo:{next}%s{minutes}.example"),
        ("a greeting with a line break, a blank and letters beyond ASCII", "helo:m\u00fcller\r\n250 ok\u202e.example"),
        ("a greeting with a prefix of its own", "helo:ip:192.0.2.7"),
        ("an IPv6 address", "ip:2001:db8::25"),
    ):
        verdict = named(middle, "tenant-1", server)
        yield vector(says, verdict, minutes_of(verdict))
    service = Service("Example Mail for Organisations " + "x" * 120, "https://mail.example.com/help/" + "y" * 120)
    verdict = named(middle, "tenant-1", f"mx1.{'a' * 63}.example", service)
    yield vector("a service with a long name and a long link", verdict, minutes_of(verdict))


def written() -> str:
    """The text of the file: one fact of a verdict or one case a line."""
    shown = []
    for each in vectors():
        verdict = ",\n".join(f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in each["verdict"].items())
        cases = ",\n".join(f"    {json.dumps(case)}" for case in each["cases"])
        says = json.dumps(each["says"])
        shown.append(f'  {{"says": {says}, "verdict": {{\n{verdict}\n  }}, "cases": [\n{cases}\n  ]}}')
    return "[\n" + ",\n".join(shown) + "\n]\n"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path)
    parser.parse_args().out.write_text(written(), encoding="utf-8")


if __name__ == "__main__":
    main()
