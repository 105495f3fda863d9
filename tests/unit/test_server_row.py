"""A server's row: what is noted and counted in its bytes is what its state has afterwards."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from streams.domain.server.connection import InboundConnection
from streams.domain.server.state import ServerEnforcement
from streams.domain.time import HOUR_MS
from streams.engine.ports import StoreError
from streams.state.server_row import ServerRow, encode_state
from tests.support.episodes import DETECTED, GOOD, OLD, connection, run

AT = DETECTED + 9 * HOUR_MS
BUILDS = {"mixed": (OLD, GOOD, OLD), "old": (OLD, OLD), "without a build": (None,)}


def passed_now(at: int, build: str | None) -> InboundConnection:
    """A message that passed a machine of its build just then: with an older date it would have waited in a queue."""
    of = connection(at, build)
    (line,) = of.received
    machine = "192.0.2.2" if build == GOOD else "192.0.2.1"
    own = f"{line.replace('example.com', f'example.com ({machine})').partition(';')[0]}; {formatdate(at / 1000)}"
    return of._replace(received=(own,), source_ip=machine)


def state_of(kind: str) -> ServerEnforcement:
    steps = (passed_now(DETECTED + place * HOUR_MS, build) for place, build in enumerate(BUILDS[kind]))
    (state,) = run(*steps).states.values()
    return state


def row_of(kind: str) -> ServerRow:
    return ServerRow(encode_state(state_of(kind), None))


def stored(row: ServerRow) -> ServerEnforcement:
    """The state as whoever reads the row's value has it."""
    return ServerRow(row.encode()).to_state()


@pytest.mark.parametrize("is_decoded", [False, True])
def test_what_is_noted_of_a_mixed_server_is_in_its_state_and_in_its_value(is_decoded: bool) -> None:
    expected = state_of("mixed")
    row = ServerRow(encode_state(expected, None))
    assert expected.is_mixed
    if is_decoded:
        row.to_state()
    row.note_refused(AT)
    assert (stored(row).refused_at, stored(row).accepted_at) == (AT, expected.accepted_at)
    row.note_accepted(AT + 1)
    expected.refused_at, expected.accepted_at = AT, AT + 1
    assert stored(row) == expected
    assert row.to_state() == expected


def test_of_a_server_that_is_not_mixed_nothing_is_noted() -> None:
    assert not row_of("old").notes()


@pytest.mark.parametrize("kind", BUILDS)
@pytest.mark.parametrize(
    ("outcome", "refused_before", "gained"),
    [(-1, 0, (1, 0, 0, 0)), (0, 0, (1, 1, 0, 0)), (1, 2, (3, 0, 1, 2)), (2, 0, (1, 0, 0, 1))],
    ids=["no outcome", "accepted", "deferred after two", "rejected"],
)
def test_a_late_connection_is_counted_and_moves_no_clock(
    kind: str, outcome: int, refused_before: int, gained: tuple[int, ...]
) -> None:
    row, before = row_of(kind), state_of(kind)
    row.count_late(before.last_seen_at - 1, outcome, b"12345678", False, None, refused_before, False)
    after = stored(row)
    counts = [(s.connections, s.accepted, s.deferred, s.rejected) for s in (before, after)]
    assert tuple(now - earlier for earlier, now in zip(*counts, strict=True)) == gained
    assert after.recent_events.endswith(b"12345678")
    moments = [(s.last_seen_at, s.judged_at, s.clock_at, s.exchange_seen_at, s.stamps) for s in (before, after)]
    assert moments[0] == moments[1]


def test_a_late_connection_with_a_build_is_the_newest_of_its_machine() -> None:
    row, before = row_of("old"), state_of("old")
    row.count(AT, 0, b"12345678", b"connector-1", b"192.0.2.1", None, 0, False)
    (stamp,) = row.stamps()
    row.count_late(AT - 1, 0, b"12345678", True, stamp, 0, True)
    after = stored(row)
    assert (after.last_seen_at, after.judged_at, after.exchange_seen_at) == (AT, AT - 1, AT - 1)
    assert [found.seen_at for found in after.stamps] == [AT - 1]
    assert [found.build for found in after.stamps] == [found.build for found in before.stamps]


def test_a_value_that_ends_too_soon_is_refused() -> None:
    value = encode_state(state_of("mixed"), None)
    for size in range(1, len(value)):
        with pytest.raises(StoreError, match=r"corrupt|cannot be read"):
            ServerRow(value[:size]).to_state()
