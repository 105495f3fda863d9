"""What an edge answers: it has nothing but the verdict, at every stage to come, whatever the server calls itself."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from streams.cli.simulate import read_connection
from streams.domain.edge import action_at, reply_at
from streams.domain.exchange.build import Build, parse_build
from streams.domain.outputs.replies import MAX_REPLY_BYTES, fill_reply, reply_template
from streams.domain.outputs.verdict import Verdict
from streams.domain.policy.ladder import Action, ScheduledStage
from streams.domain.policy.rulebook import Rulebook, Service
from streams.domain.server.render import with_replies
from streams.domain.tenant.commands import CommandKind
from streams.domain.time import DAY_MS, MINUTE_MS, iso
from streams.domain.validation import MalformedError
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.wire.records import parse_moment, to_json, to_record
from tests.support.commands import command, pause
from tests.support.edge import answer
from tests.support.episodes import DETECTED, GOOD, OLD, connection, run

REPOSITORY = Path(__file__).parents[2]
VECTORS = REPOSITORY / "docs" / "reference" / "action-vectors.json"
sys.path.insert(0, str(REPOSITORY / "scripts"))

from generate_vectors import written  # noqa: E402

FIRST = "450 4.7.230 Connecting Exchange server version is out-of-date; connection to Exchange Online throttled for"
BLOCKED = "550 5.7.230 Connecting Exchange server version is out-of-date; connection to Exchange Online blocked for"
LINK = "https://aka.ms/BlockUnsafeExchange"
FACTS = f"runs {OLD}, 15.1.2507.61 or newer is required."


def first_minute(verdict: Verdict, action: Action, begin: int) -> int:
    """The first minute from `begin` on in which the edge acts so."""
    minutes = (begin + minute * MINUTE_MS for minute in range(60))
    return next(moment for moment in minutes if action_at(verdict, moment) is action)


def assert_every_stage_has_its_text(verdict: Verdict) -> None:
    """As an edge sees it that has the verdict's JSON and nothing else."""
    shown = to_json(to_record(verdict))
    for begin in (verdict.effective_at, *(stage.starts_at for stage in verdict.schedule)):
        for minute in range(60):
            moment = begin + minute * MINUTE_MS
            text = reply_at(verdict, moment)
            assert answer(shown, iso(moment)) == (action_at(verdict, moment).value, text)
            assert (text is None) == (action_at(verdict, moment) is Action.ACCEPT)


def test_a_first_verdict_has_the_exact_text_of_every_stage_to_come() -> None:
    verdict = run(connection(DETECTED)).results.verdicts[0]
    assert (verdict.smtp_reply_throttle, verdict.smtp_reply_block) == (None, None)
    stages = verdict.schedule
    assert [stage.throttle_minutes_per_hour for stage in stages] == [5, 10, 20, 30, 30, 30, 0]
    for stage, after in zip(stages, [*stages[1:], None], strict=True):
        following = f" Next stage {iso(after.starts_at)}." if after else ""
        facts = f"mins/hr. mx1.example.com {FACTS}{following} {LINK}"
        if stage.throttle_minutes_per_hour:
            at = first_minute(verdict, Action.THROTTLE, stage.starts_at)
            assert reply_at(verdict, at) == f"{FIRST} {stage.throttle_minutes_per_hour} {facts}"
        if stage.block_minutes_per_hour:
            at = first_minute(verdict, Action.BLOCK, stage.starts_at)
            assert reply_at(verdict, at) == f"{BLOCKED} {stage.block_minutes_per_hour} {facts}"
    assert_every_stage_has_its_text(verdict)


def test_a_verdict_under_a_pause_has_the_texts_of_what_comes_after_it() -> None:
    found = run(connection(DETECTED), DETECTED + 65 * DAY_MS)
    found.command(pause(DETECTED + 65 * DAY_MS, 20))
    verdict = found.results.verdicts[-1]
    assert (verdict.smtp_reply_throttle, verdict.smtp_reply_block) == (None, None)
    assert verdict.paused_until == DETECTED + 85 * DAY_MS
    assert reply_at(verdict, verdict.paused_until - 1) is None
    for action, words in ((Action.THROTTLE, f"{FIRST} 30 mins/hr. "), (Action.BLOCK, f"{BLOCKED} 5 mins/hr. ")):
        text = reply_at(verdict, first_minute(verdict, action, verdict.paused_until))
        assert text == f"{words}mx1.example.com {FACTS} Next stage {iso(DETECTED + 90 * DAY_MS)}. {LINK}"
    assert_every_stage_has_its_text(verdict)


def test_the_lines_of_the_present_stage_are_those_of_the_templates() -> None:
    for verdict in run(connection(DETECTED), DETECTED + 95 * DAY_MS).results.verdicts:
        for action, line in (
            (Action.THROTTLE, verdict.smtp_reply_throttle),
            (Action.BLOCK, verdict.smtp_reply_block),
        ):
            if line is not None:
                assert line == reply_at(verdict, first_minute(verdict, action, verdict.effective_at))


def test_a_verdict_outside_of_an_episode_has_no_texts() -> None:
    found = run(connection(DETECTED), connection(DETECTED + 65 * DAY_MS, GOOD))
    last = found.results.verdicts[-1]
    assert last.action is Action.ACCEPT
    assert [value for name, value in last._asdict().items() if name.startswith("smtp_")] == [None] * 4


@pytest.mark.parametrize("stamp", [None, GOOD])
def test_under_an_override_the_text_names_the_build_that_is_judged(stamp: str | None) -> None:
    found = run(connection(DETECTED, stamp))
    fields = {"server": "mx1.example.com", "build": OLD, "reason": "wrong stamp"}
    ends = DETECTED + 99 * DAY_MS
    found.command(command(CommandKind.OVERRIDE_BUILD, DETECTED + DAY_MS, expires_at=ends, **fields))
    verdict = found.results.verdicts[-1]
    assert str(verdict.build) == str(stamp and parse_build(stamp))
    assert verdict.smtp_template_block == f"{BLOCKED} {{minutes}} mins/hr. mx1.example.com {FACTS}{{next}} {LINK}"


def test_an_old_verdict_has_a_text_to_throttle_where_it_blocks() -> None:
    last = run(connection(DETECTED), DETECTED + 95 * DAY_MS).results.verdicts[-1]
    assert (last.throttle_minutes_per_hour, last.block_minutes_per_hour) == (0, 60)
    assert last.smtp_template_throttle is not None
    assert fill_reply(last.smtp_template_throttle, 60, None).startswith(f"{FIRST} 60 mins/hr. mx1.example.com runs")


def template(server: str, service: Service | None = None, action: Action = Action.BLOCK) -> str:
    return reply_template(action, service or Service(), server, parse_build(OLD), parse_build("15.1.2507.61"))


@pytest.mark.parametrize(
    ("server", "shown"),
    [
        ("mx1.example.com", "mx1.example.com"),
        ("helo:mail", "mail"),
        ("ip:192.0.2.1", "192.0.2.1"),
        ("ip:2001:db8::25", "2001:db8::25"),
        ("helo:helo:mail", "mail"),
        ("helo:ip:192.0.2.1", "192.0.2.1"),
        ("ip:", "this server"),
        ("helo:{next}.example", "?next?.example"),
        ("helo:{minutes}%s", "?minutes??s"),
        ("helo:a b\r\n250 ok\x00\x7f", "a?b??250?ok??"),
        ("helo:m\u00fcller\u202e.example", "m?ller?.example"),
    ],
)
def test_a_reply_shows_a_plain_name_and_nothing_that_could_be_read_as_more(server: str, shown: str) -> None:
    assert template(server) == f"{BLOCKED} {{minutes}} mins/hr. {shown} {FACTS}{{next}} {LINK}"


def is_clean(text: str) -> bool:
    return len(text) <= MAX_REPLY_BYTES and all(" " <= char <= "~" for char in text)


@pytest.mark.parametrize("name_chars", [1, 15, 64, 150, 240, 380])
@pytest.mark.parametrize("link_chars", [20, 128, 250])
@pytest.mark.parametrize("server_chars", [4, 100, 255])
@pytest.mark.parametrize("action", [Action.THROTTLE, Action.BLOCK])
def test_no_length_of_names_breaks_a_reply(name_chars: int, link_chars: int, server_chars: int, action: Action) -> None:
    service = Service("n" * name_chars, "https://" + "l" * (link_chars - 8))
    server = "mx1." + "s" * (server_chars - 4)
    text = template(server, service, action)
    for minutes, moment in ((5, DETECTED), (60, parse_moment("at", "2099-12-31T23:59:59.999Z")), (60, None)):
        line = fill_reply(text, minutes, moment)
        assert is_clean(line)
        done = "blocked" if action is Action.BLOCK else "throttled"
        assert f"; connection to {service.name} {done} for {minutes} mins/hr." in line
        assert "{" not in line
        if name_chars + link_chars <= 340:
            assert line.endswith(f" {service.link}")
        if name_chars + link_chars <= 240:
            assert "mx1." in line
            assert FACTS in line
            assert (moment is None) == ("Next stage" not in line)


def test_the_longest_name_is_cut_and_the_cut_is_marked() -> None:
    line = fill_reply(template("mx1." + "s" * 251, Service("n" * 64, LINK)), 60, DETECTED)
    assert len(line) == MAX_REPLY_BYTES
    assert f"ssss... {FACTS} Next stage {iso(DETECTED)}. {LINK}" in line


def test_settings_that_leave_no_room_still_give_one_clean_line_with_the_code() -> None:
    for name, link in (("n" * 600, LINK), ("n" * 600, "l" * 600), ("n", "l" * 600), ("{next}\r\n\u00fc", "{minutes}")):
        line = fill_reply(template("mx1.example.com", Service(name, link)), 60, DETECTED)
        assert is_clean(line)
        assert line.startswith("550 5.7.230 Connecting Exchange server version is out-of-date; connection to ")
        assert " blocked for 60 mins/hr." in line


def test_placeholders_in_the_settings_are_text() -> None:
    line = fill_reply(template("mx1.example.com", Service("{next}", "https://{minutes}")), 60, DETECTED)
    assert line.startswith(f"{BLOCKED[: -len('Exchange Online blocked for')]}?next? blocked for 60 mins/hr. mx1.")
    assert line.endswith(f"required. Next stage {iso(DETECTED)}. https://?minutes?")


def test_a_build_that_no_catalogue_has_leaves_room_for_the_rest() -> None:
    build = Build(15, 1, 999_999_999, 999_999_999)
    line = fill_reply(reply_template(Action.BLOCK, Service("n" * 64, LINK), "s" * 255, build, build), 60, DETECTED)
    assert is_clean(line)
    assert line.endswith(f"... runs {build}, {build} or newer is required. Next stage {iso(DETECTED)}. {LINK}")


def test_an_end_of_enforcement_is_no_next_stage_and_a_stage_without_minutes_is_one() -> None:
    verdict = run(connection(DETECTED), DETECTED + 40 * DAY_MS).results.verdicts[-1]
    hour = 60 * MINUTE_MS
    begin = verdict.effective_at
    stages = ((3, 1, 0), (3, 2, 60), (4, 3, 0), (5, 4, 60))
    schedule = tuple(ScheduledStage(stage, begin + at * hour, minutes, 0) for stage, at, minutes in stages)
    changed = with_replies(
        verdict._replace(throttle_minutes_per_hour=60, schedule=schedule),
        Service("Mail", "https://mail.example"),
        verdict.build,
    )
    said = [reply_at(changed, begin + hours * hour) for hours in range(5)]
    dates = [text and text.partition(" Next stage ")[2].partition("Z.")[0] for text in said]
    assert dates == [iso(begin + 2 * hour)[:-1], None, iso(begin + 3 * hour)[:-1], None, ""]


def test_the_published_vectors_hold_for_an_edge_that_knows_the_documents_only() -> None:
    assert VECTORS.read_text(encoding="utf-8") == written()
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    counts: Counter[str] = Counter()
    for vector in vectors:
        for case in vector["cases"]:
            assert answer(vector["verdict"], case["at"]) == (case["action"], case["reply"]), vector["says"]
            assert case["reply"] is None or is_clean(case["reply"])
            counts[case["action"]] += 1
    assert min(counts[action] for action in Action) >= 50


@pytest.mark.no_cover
def test_over_the_sample_feed_no_verdict_lacks_a_text_that_its_schedule_needs() -> None:
    lines = (REPOSITORY / "examples" / "feed.jsonl").read_text(encoding="utf-8").splitlines()
    simulation = Simulation(Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue()))
    for line in lines[::4]:
        try:
            simulation.feed(read_connection(line.encode()))
        except MalformedError:
            continue
    simulation.advance(parse_moment("until", "2027-02-01T00:00:00Z"))
    verdicts = simulation.results.verdicts
    waiting = [verdict for verdict in verdicts if verdict.schedule]
    assert len(waiting) > 300
    assert any(verdict.server.startswith("helo:") for verdict in waiting)
    for verdict in verdicts:
        texts = [value for name, value in verdict._asdict().items() if name.startswith("smtp_") and value]
        assert bool(texts) == bool(verdict.schedule or verdict.action is not Action.ACCEPT)
        assert not any("helo:" in text or "ip:" in text for text in texts)
    for verdict in waiting[::5]:
        assert_every_stage_has_its_text(verdict)
