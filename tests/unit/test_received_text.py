"""What people paste: every form of a header gives the same `Received` values, in linear work."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from streams.cli.received_text import decoded, received_values
from streams.domain.headers import MAX_LINE_CHARS, detect

TOP = (
    "from a.example (10.0.0.1) by mx.example.org\n (10.0.0.2) with Microsoft SMTP Server\n id 15.1.2507.61;"
    " Mon, 1 Dec 2025 10:00:00 +0800"
)
BELOW = "from b.example (10.0.0.3) by hub.example.org with mapi id 15.01.2507.059; Mon, 1 Dec 2025 09:59:00 +0800"
HEADER = f"Received: {TOP}\nReceived: {BELOW}\n"


def _one_line(values: list[str]) -> list[str]:
    return [" ".join(value.split()) for value in values]


@pytest.mark.parametrize(
    "text",
    [
        HEADER,
        HEADER.rstrip("\n"),
        f"{HEADER}Subject: x\n\nReceived: from the body by no.example; x\n",
        f"Return-Path: <a@example>\n{HEADER}X-Received: by y.example; z\nReceived-SPF: Pass; x\n\nbody",
        f"Delivered-To: a\nSubject: x\n{HEADER}\n\n\nReceived: from the body by no.example; x\n",
        HEADER.replace("\n", "\r\n"),
        HEADER.replace("\n", "\r"),
        HEADER.replace("\n ", "\n\t"),
        HEADER.replace("\n ", "\n\t\t   "),
        HEADER.replace("Received: ", "Received:\n\t"),
        HEADER.replace("Received: ", "RECEIVED:"),
        HEADER.replace("Received: ", "received : "),
        f"\n\r\n  \n{HEADER}",
        f"From someone@example Mon Dec  1 10:00:00 2025\n{HEADER}Subject: x\n\nbody",
        HEADER.replace("\nReceived", "\n\nReceived"),
        "".join(f"    {line}\n" for line in HEADER.splitlines()),
        "".join(f"\t{line}\n" for line in f"{HEADER}Subject: x".splitlines()),
        HEADER.replace("\n ", "\n"),
        HEADER.replace("Received: ", ""),
        HEADER.replace("Received: ", "").replace("\n ", "\n"),
        HEADER.replace("Received: ", "").replace("\nfrom b", "\n\nfrom b"),
    ],
)
def test_every_form_gives_the_same_values(text: str) -> None:
    assert _one_line(received_values(text)) == _one_line([TOP, BELOW])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_windows_encodings_are_read(encoding: str) -> None:
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    assert received_values(decoded((mark + HEADER).encode(encoding))) == [TOP, BELOW]


def test_bytes_that_are_no_text_are_replaced() -> None:
    raw = b"Received: from a\xff\x00 by mx.example.org with Microsoft SMTP Server id 15.1.2507.61; \xe9\n"
    (value,) = received_values(decoded(raw))
    assert str(detect([value], "", "").build) == "15.1.2507.61"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "Subject: x\n\nReceived: from the body by no.example; x\n",
        "from __future__ import annotations\nimport sys\n",
        "from here by train; and then on foot",
        "by the way",
        "a letter\n",
        "X-Received: by y.example with SMTP; x\n",
    ],
)
def test_no_received_line(text: str) -> None:
    assert received_values(text) == []


def test_an_ipv6_address_at_the_start_of_a_line_is_no_field() -> None:
    text = (
        "Received: from a.example (\nfd9f:af1c:a25b:0:43c:695e:880f:8750) by mx.example.org\nwith mapi id 15.1.1.1; x"
    )
    (value,) = received_values(text)
    assert detect([value], "", "").server == "mx.example.org"


def _lines_run(work: Callable[[], object]) -> int:
    """How many lines of Python `work` runs, calls included: a count that no load of the machine changes."""
    count = 0

    def count_line(*_: object) -> object:
        nonlocal count
        count += 1
        return count_line

    sys.settrace(count_line)  # type: ignore[arg-type]
    try:
        work()
    finally:
        sys.settrace(None)
    return count


STAMP = "Received: from a by mx.example.org with Microsoft SMTP Server id 15.1.2507.61; x\n"


@pytest.mark.parametrize(
    "make",
    [
        lambda size: STAMP * size,
        lambda size: STAMP.replace(" by ", "\n " * size + "by "),
        lambda size: STAMP.replace(" by ", f" {'x' * 100 * size} by "),
        lambda size: STAMP.replace(" by ", f" {'(' * size}{')' * size} by "),
        lambda size: STAMP.replace(" by ", " by " * size),
        lambda size: STAMP.replace(" with ", " with " * size),
        lambda size: STAMP.replace(" id ", " id " * size),
        lambda size: "from x by y with mapi id 15.1.2507.61\n" * size,
        lambda size: " " * size + STAMP + "A" * size + "\n" + "from x by y\n" * size,
    ],
    ids=["lines", "folds", "one long line", "nested comments", "many by", "many with", "many id", "bare", "indent"],
)
def test_the_work_grows_no_faster_than_the_input(make: Callable[[int], str]) -> None:
    def work(size: int) -> int:
        text = make(size)
        return _lines_run(lambda: detect(received_values(text), "", ""))

    assert work(8_000) <= 4.2 * work(2_000)


def test_evidence_is_kept_as_far_as_it_is_read() -> None:
    found = detect(["from a by mx.example.org with mapi id 15.1.2507.61; " + "x" * 10_000_000], "", "")
    assert found.received is not None
    assert len(found.received) == MAX_LINE_CHARS
