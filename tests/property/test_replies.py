"""Every verdict that `decide` emits answers every stage of its own schedule, over random sequences."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.domain.edge import action_at, reply_at
from streams.domain.outputs.replies import MAX_REPLY_BYTES, fill_reply, reply_template
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.ladder import Action
from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import Service
from streams.domain.time import LATEST_MS, MINUTE_MS, iso
from streams.wire.records import to_json, to_record
from tests.support.edge import answer
from tests.support.sequences import POLICIES, STEPS, Step, policy_at, run

FORM = {
    Action.THROTTLE: re.compile(
        r"450 4\.7\.230 Connecting Exchange server version is out-of-date; "
        r"connection to Exchange Online throttled for (\d+) mins/hr\. "
        r"mx[01]\.example\.com runs [\d.]+, (?:[\d.]+ or newer is required|which is no longer accepted)\."
        r"(?: Next stage (\S+Z)\.)? https://aka\.ms/BlockUnsafeExchange"
    )
}
FORM[Action.BLOCK] = re.compile(
    FORM[Action.THROTTLE].pattern.replace(r"450 4\.", r"550 5\.").replace("throttled", "blocked")
)


def moments_of(verdict: Verdict) -> set[int]:
    """Every minute of an hour from each turn on, and the last millisecond before it."""
    turns = [verdict.effective_at, *(stage.starts_at for stage in verdict.schedule)]
    turns += [] if verdict.paused_until is None else [verdict.paused_until]
    moments = {turn + minute * MINUTE_MS for turn in turns for minute in range(60)}
    return {moment for moment in moments | {turn - 1 for turn in turns} if moment >= verdict.effective_at}


def assert_answers(verdict: Verdict) -> None:
    shown = to_json(to_record(verdict))
    assert all(one.starts_at <= other.starts_at for one, other in pairwise(verdict.schedule))
    for moment in moments_of(verdict):
        action, text = action_at(verdict, moment), reply_at(verdict, moment)
        assert answer(shown, iso(moment)) == (action.value, text)
        if action is Action.ACCEPT:
            assert text is None
            continue
        assert text is not None
        assert len(text.encode("ascii")) <= MAX_REPLY_BYTES
        said = FORM[action].fullmatch(text)
        assert said is not None, text
        past = [stage for stage in verdict.schedule if stage.starts_at <= moment]
        minutes = past[-1] if past else verdict
        blocks = action is Action.BLOCK
        assert int(said[1]) == (minutes.block_minutes_per_hour if blocks else minutes.throttle_minutes_per_hour)
        # A date that has passed, or one that is not in the schedule, is never said.
        assert said[2] is None or said[2] in {iso(item.starts_at) for item in verdict.schedule if item not in past}
        if not past and moment >= verdict.effective_at:
            assert text == (verdict.smtp_reply_block if blocks else verdict.smtp_reply_throttle)


@settings(max_examples=120, deadline=None)
@example(
    (policy_at(0, 1),),
    [
        Step(0.0, 1, "fabrikam", 0, "CONNECTION", None, 25, 0.0),
        Step(0.0, 2, "fabrikam", 0, "OVERRIDE_BUILD", "15.1.2507.39", 75, 0.0),
    ],
)
@given(POLICIES, STEPS)
def test_every_verdict_answers_at_every_moment_of_its_schedule(policies: tuple[Policy, ...], steps: list[Step]) -> None:
    for verdict in run(policies, steps).results.verdicts:
        assert_answers(verdict)
        if verdict.stage == 0:
            assert not any(value for name, value in verdict._asdict().items() if name.startswith("smtp_"))


TEXT = st.text(max_size=255) | st.text("{}%minutesnext: .\r\n", max_size=255) | st.just("helo:" + "x" * 250)


@settings(max_examples=500, deadline=None)
@given(TEXT, st.text(max_size=400), st.text(max_size=400), st.integers(1, 60), st.none() | st.integers(0, LATEST_MS))
def test_no_text_of_anybody_breaks_the_line(
    server: str, name: str, link: str, minutes: int, next_stage_at: int | None
) -> None:
    template = reply_template(Action.BLOCK, Service(name, link), server, None, None)
    line = fill_reply(template, minutes, next_stage_at)
    assert len(line) <= MAX_REPLY_BYTES
    assert all(" " <= char <= "~" for char in line)
    assert not set("{}") & set(line)
    assert template.count("{minutes}") == 1
    assert template.count("{next}") <= 1
    assert line.startswith("550 5.7.230 Connecting Exchange server version is out-of-date; connection to ")
    assert f" blocked for {minutes} mins/hr." in line
    assert not re.search(r"(helo|ip):", line.removesuffix(link).partition("mins/hr.")[2].partition(" runs ")[0])
