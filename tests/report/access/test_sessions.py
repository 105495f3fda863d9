"""Sessions: what a cookie may be worth, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.report.access.callers import AccessRole, Caller
from streams.report.access.seals import MOST_SEALED_CHARS, Seal
from streams.report.access.sessions import IDLE_MS, LONGEST_MS, RENEW_MS, Session, Sessions
from tests.support.report_access import Clock

SECRET = b"k" * 32
ANA = Caller("https://id.example u-1", "ana", AccessRole.TENANT_ADMIN, "acme")


def test_a_session_is_what_was_begun() -> None:
    clock = Clock()
    sessions = Sessions(SECRET, clock.ms)
    session = sessions.begin(ANA)
    assert sessions.open(sessions.seal(session)) == session
    assert session.caller == ANA
    operator = sessions.begin(Caller("s", "n", AccessRole.OPERATOR, None))
    opened = sessions.open(sessions.seal(operator))
    assert opened is not None
    assert opened.caller.role is AccessRole.OPERATOR
    assert opened.caller.tenant is None


def test_a_cookie_shows_nothing_and_fits_into_a_browser() -> None:
    sessions = Sessions(SECRET, Clock().ms)
    longest = Caller("https://" + "i" * 200 + " " + "s" * 255, "名" * 120, AccessRole.TENANT_READER, "t" * 64)
    sealed = sessions.seal(sessions.begin(longest))
    assert len(sealed) < MOST_SEALED_CHARS - 100
    assert sessions.open(sealed) is not None
    assert "acme" not in sessions.seal(sessions.begin(ANA))


@pytest.mark.parametrize(
    ("steps", "is_open"), [([IDLE_MS - 1], True), ([IDLE_MS], False), ([IDLE_MS - 1, IDLE_MS - 1], False)]
)
def test_an_idle_session_ends(steps: list[int], is_open: bool) -> None:
    clock = Clock()
    sessions = Sessions(SECRET, clock.ms)
    sealed = sessions.seal(sessions.begin(ANA))
    for step in steps:
        clock.advance(step / 1000)
    assert (sessions.open(sealed) is not None) is is_open


def test_a_session_that_is_used_goes_on_and_ends_all_the_same() -> None:
    clock = Clock()
    sessions = Sessions(SECRET, clock.ms)
    session: Session | None = sessions.begin(ANA)
    used_ms = 0
    while session is not None:
        sealed = sessions.seal(session)
        clock.advance(RENEW_MS / 1000)
        used_ms += RENEW_MS
        opened = sessions.open(sealed)
        session = sessions.renewed(opened) if opened else None
    assert used_ms == LONGEST_MS


def test_a_session_is_renewed_once_a_minute() -> None:
    clock = Clock()
    sessions = Sessions(SECRET, clock.ms)
    session = sessions.begin(ANA)
    clock.advance(59.999)
    assert sessions.renewed(session) is None
    clock.advance(0.001)
    renewed = sessions.renewed(session)
    assert renewed is not None
    assert (renewed.id, renewed.csrf_token, renewed.started_ms) == (session.id, session.csrf_token, session.started_ms)


def test_an_ended_session_stays_ended_also_in_its_renewed_form() -> None:
    clock = Clock()
    sessions = Sessions(SECRET, clock.ms)
    session, other = sessions.begin(ANA), sessions.begin(ANA)
    clock.advance(60)
    renewed = sessions.renewed(session)
    assert renewed is not None
    sessions.end(session)
    assert sessions.open(sessions.seal(session)) is None
    assert sessions.open(sessions.seal(renewed)) is None
    assert sessions.open(sessions.seal(other)) is not None


def test_another_replica_opens_what_is_sealed_by_the_same_key_and_has_not_heard_of_its_end() -> None:
    clock = Clock()
    here, there = Sessions(SECRET, clock.ms), Sessions(SECRET, clock.ms)
    session = here.begin(ANA)
    here.end(session)
    assert there.open(here.seal(session)) == session
    assert Sessions(b"o" * 32, clock.ms).open(here.seal(session)) is None


def test_ended_sessions_are_kept_in_mind_within_bounds_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    sessions = Sessions(SECRET, clock.ms, most_ended=3)
    first = [sessions.begin(ANA) for _ in range(3)]
    for session in first:
        sessions.end(session)
    assert caplog.records == []
    sessions.end(sessions.begin(ANA))
    assert [record.__dict__["event"] for record in caplog.records] == ["report_sessions_full"]
    assert [sessions.open(sessions.seal(session)) is None for session in first] == [False, True, True]
    caplog.clear()
    clock.advance(LONGEST_MS / 1000)
    for _ in range(3):
        sessions.end(sessions.begin(ANA))
    assert caplog.records == []


def test_every_session_has_a_csrf_token_of_its_own() -> None:
    sessions = Sessions(SECRET, Clock().ms)
    tokens = {sessions.begin(ANA).csrf_token for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 64 for token in tokens)


@given(st.data())
def test_no_changed_cookie_is_opened(data: st.DataObject) -> None:
    sessions = Sessions(SECRET, Clock().ms)
    sealed = sessions.seal(sessions.begin(ANA))
    place = data.draw(st.integers(0, len(sealed) - 1))
    changed = sealed[:place] + data.draw(st.characters()) + sealed[place + 1 :]
    opened = sessions.open(changed)
    # The last letter of a part may hold bits that mean nothing.
    assert opened is None or opened.caller == ANA
    assert sessions.open(sealed[:place]) is None


@given(st.text(max_size=200))
def test_no_text_is_a_session(text: str) -> None:
    assert Sessions(SECRET, Clock().ms).open(text) is None


@pytest.mark.parametrize(
    "content", [[], ["a"] * 7, [None] * 7, ["id", "s", "n", "root", "acme", 1, 1], [1, 2, 3, 4, 5, 6, 7]]
)
def test_what_another_version_sealed_is_no_session(content: list[object]) -> None:
    sealed = Seal(SECRET, "session").seal(content)
    assert Sessions(SECRET, Clock().ms).open(sealed) is None


def test_what_was_sealed_for_another_purpose_is_no_session() -> None:
    sessions = Sessions(SECRET, Clock().ms)
    session = sessions.begin(ANA)
    content = [session.id, *session.caller, session.started_ms, session.seen_ms]
    assert sessions.open(Seal(SECRET, "session").seal(content)) == session
    assert sessions.open(Seal(SECRET, "sign-in").seal(content)) is None
