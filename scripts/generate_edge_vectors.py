"""Makes the vectors by which an edge checks its whole decision: what it knows, what came, and what it answers.

.venv/bin/python scripts/generate_edge_vectors.py --out docs/reference/edge-vectors.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from generate_vectors import DETECTED, GOOD, OLD, SHOWN, at_stage, named, verdicts_of

from streams.domain.edge import (
    ClientFinding,
    Decision,
    EdgeVerdict,
    Knowledge,
    Limits,
    action_at,
    decide_early,
    decide_message,
    edge_verdict_of,
    trust_in,
)
from streams.domain.exchange.build import parse_build
from streams.domain.exchange.detection import detect
from streams.domain.keys import ServerKey
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.ladder import Action
from streams.domain.time import DAY_MS, HOUR_MS, MINUTE_MS, iso
from streams.wire.records import to_json, to_record

HOST, ADDRESS = "mx1.example.com", "192.0.2.1"
STAMP = "from a by mx1.example.com (192.0.2.1) with Microsoft SMTP Server id {build}; Tue, 1 Sep 2026 00:00:00 +0000"
GATEWAY_LINE = "from mx1.example.com by filter.example.com with ESMTP id 4XyZ; Tue, 1 Sep 2026 00:00:00 +0000"
LIMITS = Limits()


def first_minute(verdict: Verdict, action: Action, begin: int) -> int:
    """The first minute from `begin` on in which an action applies."""
    return next(at for at in range(begin, begin + HOUR_MS + MINUTE_MS, MINUTE_MS) if action_at(verdict, at) is action)


def case_of_message(
    verdict: EdgeVerdict | None, at: int, received: tuple[str, ...], age: int | None = 0, skew: int = 0
) -> dict[str, Any]:
    """A message at `at` whose edge was last sure of its verdicts `age` milliseconds before; None: never."""
    knowledge = Knowledge(None if age is None else at - age, skew)
    decision = decide_message(detect(received, HOST, ADDRESS), verdict, trust_in(knowledge, at, LIMITS), at)
    message = {"received": list(received), "helo": HOST, "source_ip": ADDRESS}
    return {"at": iso(at), "knowledge": shown(knowledge), "message": message, **answered(decision)}


def case_of_client(
    verdict: EdgeVerdict, at: int, *findings: tuple[str, int, bool], age: int = 0, build: str | None = OLD
) -> dict[str, Any]:
    """A client at MAIL, whose last messages showed `findings`: server, milliseconds ago, whether it passed."""
    stamp = None if build is None else parse_build(build)
    seen = [
        ClientFinding(ServerKey(verdict.tenant_id, server), at - ago, passed, stamp) for server, ago, passed in findings
    ]
    knowledge = Knowledge(at - age)
    decision = decide_early(seen, verdict, trust_in(knowledge, at, LIMITS), at, LIMITS.probe)
    listed = [
        {"server": item.server.server, "made_at": iso(item.made_at), "has_passed": item.has_passed, "build": build}
        for item in seen
    ]
    nothing = {"action": None, "cause": None, "reply": None}
    answer = nothing if decision is None else answered(decision)
    return {"at": iso(at), "knowledge": shown(knowledge), "findings": listed, **answer}


def shown(knowledge: Knowledge) -> dict[str, Any]:
    """As JSON."""
    at = knowledge.confirmed_at
    return {"confirmed_at": None if at is None else iso(at), "clock_skew_ms": knowledge.clock_skew}


def answered(decision: Decision) -> dict[str, Any]:
    """As JSON."""
    return {"action": decision.action.value, "cause": decision.cause.name, "reply": decision.reply}


def vector(says: str, verdict: Verdict | None, *cases: dict[str, Any]) -> dict[str, Any]:
    """One vector."""
    if verdict is None:
        return {"says": says, "verdict": None, "cases": cases}
    record = to_json(to_record(verdict))
    facts = {name: record[name] for name in (*SHOWN, "required_build", "is_mixed")}
    return {"says": says, "verdict": facts, "cases": cases}


def vectors() -> Iterator[dict[str, Any]]:
    """All of them."""
    old, good = (STAMP.format(build=OLD),), (STAMP.format(build=GOOD),)
    steps = verdicts_of()
    middle, last = (at_stage(steps, stage) for stage in (5, 8))
    block, throttle, free = (
        first_minute(middle, action, middle.effective_at) for action in (Action.BLOCK, Action.THROTTLE, Action.ACCEPT)
    )
    kept = edge_verdict_of(middle)
    yield vector("no verdict", None, case_of_message(None, DETECTED, old))
    yield vector(
        "stage 5 by the minute, and what passes",
        middle,
        *(case_of_message(kept, at, old) for at in (block, throttle, free)),
        case_of_message(kept, block, good),
        case_of_message(kept, block, (GATEWAY_LINE, *old)),
        case_of_message(kept, block, (STAMP.format(build="15.1.2507"),)),
        case_of_message(kept, block, (STAMP.format(build="15.2.1748.39"),)),
        case_of_message(kept, block, (STAMP.format(build="15.20.8000.22"),)),
        case_of_message(kept, block, (*old, *good)),
        case_of_message(kept, block, ()),
    )
    yield vector(
        "stage 5, seen by an edge that knew of it in stage 1 only",
        steps[0],
        *(case_of_message(edge_verdict_of(steps[0]), at, old, age=0) for at in (block, throttle, free)),
    )
    ages = (LIMITS.block_max_age, LIMITS.block_max_age + 1, LIMITS.table_max_age, LIMITS.table_max_age + 1, None)
    yield vector(
        "knowledge that grows old",
        middle,
        *(case_of_message(kept, at, old, age) for at in (block, throttle) for age in ages),
        case_of_message(kept, block, old, skew=LIMITS.clock_skew),
        case_of_message(kept, block, old, skew=LIMITS.clock_skew + 1),
        case_of_message(kept, block, old, age=-LIMITS.clock_skew - 1),
    )
    whole = edge_verdict_of(last)
    yield vector(
        "blocked for good: delayed once nothing confirms it, then accepted",
        last,
        *(case_of_message(whole, last.effective_at, old, age) for age in (0, DAY_MS + 1, 3 * DAY_MS + 1)),
    )
    paused = verdicts_of(pause=(45, 20))[-1]
    assert paused.paused_until is not None
    during = first_minute(paused._replace(paused_until=None), Action.ACCEPT, paused.effective_at)
    yield vector(
        "paused",
        paused,
        case_of_message(edge_verdict_of(paused), during, old),
        case_of_message(edge_verdict_of(paused), paused.paused_until - 1, old),
    )
    mixed = last._replace(is_mixed=True)
    three = tuple((HOST, ago, False) for ago in (3000, 2000, 1000))
    yield vector(
        "mixed: what shows an accepted build passes, the rest does not, and nobody is answered early",
        mixed,
        case_of_message(edge_verdict_of(mixed), last.effective_at, old),
        case_of_message(edge_verdict_of(mixed), last.effective_at, good),
        case_of_client(edge_verdict_of(mixed), last.effective_at, *three),
    )
    at, probe = last.effective_at + HOUR_MS, LIMITS.probe
    other = ("mx2.example.com", 2000, False)
    yield vector(
        "answers at MAIL, and the message that must be seen in full",
        last,
        case_of_client(whole, at),
        case_of_client(whole, at, *three[:2]),
        case_of_client(whole, at, *three),
        case_of_client(whole, at, *three[:2], (HOST, probe - 1, False)),
        case_of_client(whole, at, *three[:2], (HOST, probe, False)),
        case_of_client(whole, at, *three[:2], (HOST, -1, False)),
        case_of_client(whole, at, three[0], other, three[2]),
        case_of_client(whole, at, *three[:2], (HOST, 1000, True)),
        case_of_client(whole, at, (HOST, 5000, True), *three),
        case_of_client(whole, at, *three, build=GOOD),
        case_of_client(whole, at, *three, build=None),
        case_of_client(whole, at, *three, age=LIMITS.block_max_age + 1),
        case_of_client(whole, at, *three, age=LIMITS.table_max_age + 1),
    )
    minutes = [case_of_client(kept, at, *three) for at in (block, throttle, free)]
    yield vector("answers at MAIL by the minute", middle, *minutes)
    bare = last._replace(smtp_template_block=None, smtp_template_throttle=None)
    forged = last._replace(smtp_template_block="550 5.7.230 no\r\n250 2.0.0 yes \u00e9 100% {minutes}" + "x" * 3000)
    lying = last._replace(smtp_template_block="250 2.0.0 accepted")
    for says, verdict in (("no text", bare), ("a text of more lines than one", forged), ("a text of success", lying)):
        yield vector(says, verdict, case_of_message(edge_verdict_of(verdict), at, old))
    gone = named(last._replace(required_build=None), "contoso", HOST)
    yield vector("no build is accepted", gone, case_of_message(edge_verdict_of(gone), at, good))
    three_parts = last._replace(required_build=parse_build("15.1.2507"))
    yield vector("a CU line is required", three_parts, case_of_message(edge_verdict_of(three_parts), at, old))


def written() -> str:
    """The text of the file: one fact of a verdict or one case a line."""
    blocks = []
    for each in vectors():
        facts = each["verdict"]
        lines = [] if facts is None else [f"    {json.dumps(name)}: {json.dumps(facts[name])}" for name in facts]
        verdict = "null" if facts is None else "{\n" + ",\n".join(lines) + "\n  }"
        cases = ",\n".join(f"    {json.dumps(case)}" for case in each["cases"])
        blocks.append(f'  {{"says": {json.dumps(each["says"])}, "verdict": {verdict}, "cases": [\n{cases}\n  ]}}')
    return "[\n" + ",\n".join(blocks) + "\n]\n"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path)
    parser.parse_args().out.write_text(written(), encoding="utf-8")


if __name__ == "__main__":
    main()
