"""The marks of recent connections in a server's row: their bytes stay what they are, and only whole marks count."""

from __future__ import annotations

import pytest

from streams.domain.server.state import RECENT_EVENTS, add_fingerprint, fingerprint, seen_recently

MARK = bytes(range(8))
SAME = b"\xaa" * 8


def test_a_mark_has_the_bytes_that_stored_rows_have() -> None:
    assert fingerprint(1_790_856_000_000, b"event-1").hex() == "683dd57c803eb0b4"
    assert fingerprint(2**42 + 2**10 - 1, b"").hex() == "00000000ffc00000"


def test_marks_differ_by_each_millisecond_and_by_the_event() -> None:
    marks = {fingerprint(1_790_856_000_000 + number, b"event-1") for number in range(5_000)}
    assert len(marks) == 5_000
    assert len({fingerprint(0, str(number).encode()) for number in range(1_000)}) == 1_000


def test_the_oldest_mark_goes() -> None:
    marks = b""
    for number in range(RECENT_EVENTS + 1):
        marks = add_fingerprint(marks, number.to_bytes(8, "big"))
    assert len(marks) == 256
    assert [seen_recently(marks, number.to_bytes(8, "big")) for number in (0, 1, RECENT_EVENTS)] == [False, True, True]


@pytest.mark.parametrize(
    ("marks", "mark", "is_seen"),
    [
        (b"", MARK, False),
        (MARK, MARK, True),
        (b"\xff" * 8 + MARK, MARK, True),
        (b"\xff" + MARK + b"\xff" * 7, MARK, False),
        (b"\xff" * 3 + MARK + b"\xff" * 5, MARK, False),
        (b"\xff" * 3 + MARK + b"\xff" * 5 + MARK, MARK, True),
        (MARK + b"\xff" * 3 + MARK + b"\xff" * 5, MARK, True),
        (b"\xff" * 3 + MARK + b"\xff" * 5 + MARK + b"\xff" * 3 + MARK + b"\xff" * 5, MARK, True),
        (b"\xff" * 7 + SAME + b"\xaa", SAME, True),
    ],
)
def test_bytes_of_two_marks_are_not_taken_for_one(marks: bytes, mark: bytes, is_seen: bool) -> None:
    assert seen_recently(marks, mark) is is_seen
