"""Whatever a verdict says and however old it is: an edge enforces no more, and answers in one clean line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.domain.edge import (
    ClientFinding,
    Decision,
    EdgeVerdict,
    Limits,
    Trust,
    action_at,
    decide_early,
    decide_message,
    in_force,
)
from streams.domain.exchange.build import Build
from streams.domain.exchange.detection import detect
from streams.domain.keys import ServerKey
from streams.domain.outputs.replies import MAX_REPLY_BYTES
from streams.domain.policy.ladder import Action, ScheduledStage
from streams.domain.time import HOUR_MS

NOW = 1_800_000_000_000
STRENGTH = {Action.ACCEPT: 0, Action.THROTTLE: 1, Action.BLOCK: 2}
CODES = {Action.THROTTLE: "450 4.7.230 ", Action.BLOCK: "550 5.7.230 "}

rates = st.tuples(st.integers(0, 60), st.integers(0, 60)).filter(lambda pair: sum(pair) <= 60)
texts = st.none() | st.builds(str.__add__, st.sampled_from(["450 4.7.230 ", "550 5.7.230 ", "250 ", ""]), st.text())


@st.composite
def verdicts(draw: st.DrawFn) -> EdgeVerdict:
    throttle, block = draw(rates)
    moments = sorted(draw(st.lists(st.integers(NOW - 5 * HOUR_MS, NOW + 5 * HOUR_MS), max_size=4)))
    stages = tuple(ScheduledStage(number + 2, at, *draw(rates)) for number, at in enumerate(moments))
    paused = draw(st.none() | st.integers(NOW - HOUR_MS, NOW + HOUR_MS))
    required = draw(st.none() | st.just(Build(15, 1, 2507, 61)))
    name = draw(st.sampled_from(["mx1.example.com", "helo:mail", "ip:192.0.2.1"]))
    return EdgeVerdict(
        "contoso", name, 1, 1, throttle, block, stages, paused, draw(texts), draw(texts), required, draw(st.booleans())
    )


builds = st.sampled_from(["15.1.2507.39", "15.1.2507.61", "15.2.1748.10", "15.20.1.1"])
moments = st.integers(NOW - 6 * HOUR_MS, NOW + 6 * HOUR_MS)


def message(build: str) -> tuple[str, ...]:
    return (f"from a by mx1.example.com (192.0.2.1) with Microsoft SMTP Server id {build}; Tue, 1 Sep 2026",)


def assert_clean(decision: Decision) -> None:
    assert (decision.reply is None) == (decision.action is Action.ACCEPT)
    if decision.reply is not None:
        assert decision.reply.startswith(CODES[decision.action])
        assert decision.reply.isascii()
        assert decision.reply.isprintable()
        assert len(decision.reply) <= MAX_REPLY_BYTES


@given(verdicts(), builds, moments)
def test_less_trust_never_enforces_more(verdict: EdgeVerdict, build: str, now: int) -> None:
    found = detect(message(build), "", "192.0.2.1")
    decisions = [decide_message(found, verdict, trust, now) for trust in (Trust.CURRENT, Trust.AGED, Trust.STALE)]
    for decision in decisions:
        assert_clean(decision)
    current, aged, stale = (STRENGTH[decision.action] for decision in decisions)
    assert current >= aged >= stale == 0
    assert current <= STRENGTH[action_at(verdict, now)]
    assert (aged > 0) == (current > 0)
    for trust in (Trust.EMPTY, Trust.CLOCK):
        assert decide_message(found, verdict, trust, now).action is Action.ACCEPT


@given(verdicts(), moments)
def test_a_pause_and_a_free_rate_enforce_nothing(verdict: EdgeVerdict, now: int) -> None:
    force = in_force(verdict, now)
    decision = decide_message(detect((), "mail", "192.0.2.1"), verdict, Trust.CURRENT, now)
    assert (decision.action is Action.ACCEPT) >= (force[:2] == (0, 0))


@given(verdicts(), moments, st.lists(st.tuples(st.integers(0, 6 * 60_000), st.booleans()), max_size=5), st.booleans())
def test_an_early_answer_is_what_a_message_in_full_would_get(
    verdict: EdgeVerdict, now: int, seen: list[tuple[int, bool]], is_one: bool
) -> None:
    names = ["mx1.example.com" if is_one else f"mx{number}.example.com" for number in range(len(seen))]
    findings = [
        ClientFinding(ServerKey("contoso", verdict.server if is_one else name), now - ago, passed)
        for name, (ago, passed) in zip(names, sorted(seen, reverse=True), strict=True)
    ]
    early = decide_early(findings, verdict, Trust.CURRENT, now, Limits().probe)
    if early is not None:
        assert_clean(early)
        assert early == decide_message(detect((), "mail", "192.0.2.1"), verdict, Trust.CURRENT, now)
        assert not verdict.is_mixed
        assert now - findings[-1].made_at < Limits().probe
        assert not any(finding.has_passed for finding in findings[-3:])
