"""What people paste: every form of a header gives the same `Received` values, in linear work."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from streams.cli.mail_text import ReceivedText, UnreadableError, decoded, read_received
from streams.domain.exchange.clauses import MAX_LINE_CHARS
from streams.domain.exchange.detection import detect
from tests.support.outlook import outlook_message

TOP = (
    "from a.example (10.0.0.1) by mx.example.org\n (10.0.0.2) with Microsoft SMTP Server\n id 15.1.2507.61;"
    " Mon, 1 Dec 2025 10:00:00 +0800"
)
BELOW = "from b.example (10.0.0.3) by hub.example.org with mapi id 15.01.2507.059; Mon, 1 Dec 2025 09:59:00 +0800"
HEADER = f"Received: {TOP}\nReceived: {BELOW}\n"


def received_values(text: str) -> list[str]:
    """The values in a text, empty where it is refused."""
    try:
        return read_received(text.encode()).values
    except UnreadableError:
        return []


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
    raw = (mark + HEADER).encode(encoding)
    assert decoded(raw) == HEADER
    assert read_received(raw) == ReceivedText([TOP, BELOW], "Received lines")


def test_bytes_that_are_no_text_are_replaced() -> None:
    raw = b"Received: from a\xff\x00 by mx.example.org with Microsoft SMTP Server id 15.1.2507.61; \xe9\n"
    (value,) = read_received(raw).values
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
        "From a@example Mon Dec  1 10:00:00 2025\nfrom b by c.example with mapi id 15.1.2507.61; x\n",
        "From a@example Mon Dec  1 10:00:00 2025\n\nReceived: from b by c.example with mapi id 15.1.2507.61; x\n",
        "A report:\n\nReceived: on Monday\n",
        "A report:\n\nX-Received: by c.example with mapi id 15.1.2507.61; x\n",
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

    before = sys.gettrace()
    sys.settrace(count_line)  # type: ignore[arg-type]
    try:
        work()
    finally:
        sys.settrace(before)  # which may measure coverage
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
        lambda size: "> " * size + STAMP,
        lambda size: f"a report\n{'> ' + STAMP}" * size,
        lambda size: '["' + '","'.join([STAMP.strip()] * size) + '"]',
        lambda size: "[" * size,
        lambda size: " " * size + STAMP + "A" * size + "\n" + "from x by y\n" * size,
    ],
    ids=[
        "lines",
        "folds",
        "one long line",
        "nested comments",
        "many by",
        "many with",
        "many id",
        "bare",
        "quotes",
        "reports",
        "list",
        "brackets",
        "indent",
    ],
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


QUOTED = "".join(f"> {line}\n" for line in HEADER.splitlines())
NDR_BODY = (
    "Delivery has failed to these recipients or groups:\n\nuser@example\n\n"
    "Diagnostic information for administrators:\n\n"
    "Generating server: mx.example.org\n\nRemote Server returned '550 5.1.1'\n\nOriginal message headers:\n\n"
)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (HEADER, "Received lines"),
        (f"{HEADER}Subject: x\n\nbody", "header of the message"),
        (f"From a@example Mon Dec  1 10:00:00 2025\n{HEADER}\nbody", "header of the first message in the mailbox file"),
        (HEADER.replace("Received: ", ""), "Received values without the field's name"),
        (QUOTED, "quoted header"),
        (QUOTED.replace("> ", ">> "), "quoted header"),
        (QUOTED.replace("> ", "> > "), "quoted header"),
        (QUOTED.replace("> ", ">"), "quoted header"),
        (f"{QUOTED}> Subject: x\n>\n> body\n", "quoted header"),
        (f"Look at this:\n\n{QUOTED}\nwhat is it?\n", "header from line 3 on, after other text"),
        (f"{NDR_BODY}{HEADER}From: <a@example>\n\nReceived: no\n", "header from line 13 on, after other text"),
        (f"Microsoft Mail Internet Headers Version 2.0\n{HEADER}", "header from line 2 on, after other text"),
    ],
)
def test_what_was_read_is_said(text: str, read: str) -> None:
    for newline in ("\n", "\r\n"):
        found = read_received(text.replace("\n", newline).encode())
        assert _one_line(found.values) == _one_line([TOP, BELOW])
        assert found.read == read


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            f"From a@example  Thu Apr 29 23:34:45 2015\nFrom: a@example\nSubject: x\n\n{NDR_BODY}{HEADER}",
            "its header has no Received field; line 17 belongs to another message in its body: to inspect that header,"
            " pass it alone",
        ),
        (
            f"Subject: x\n\nAn old message had this:\n{TOP.replace(chr(10), '')}\n",
            "its header has no Received field",
        ),
        (f"Subject: x\n\n{TOP}\n", "its header has no Received field"),
        (
            f"Subject: x\nContent-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n{HEADER}",
            "its header has no Received field; the message attached to it has a header of its own: save that one, and"
            " inspect it",
        ),
        (
            f"Subject: x\n\n--b\nContent-Type: text/rfc822-headers; charset=x\n\n{HEADER}",
            "its header has no Received field; the message attached to it has a header of its own: save that one, and"
            " inspect it",
        ),
        ("nothing here", "no Received line found"),
        ("", "no Received line found"),
    ],
)
def test_what_is_not_of_the_outermost_message_is_not_read(text: str, reason: str) -> None:
    for newline in ("\n", "\r\n"):
        with pytest.raises(UnreadableError) as refused:
            read_received(text.replace("\n", newline).encode())
        assert str(refused.value) == reason


def test_the_header_of_an_attached_message_does_not_count() -> None:
    text = f"Received: {TOP}\nSubject: x\n\n--b\nContent-Type: message/rfc822\n\nReceived: {BELOW}\n"
    assert received_values(text) == [TOP]


FIELDS = [("Subject", "x"), ("Received", TOP.replace("\n", "\r\n")), ("received", BELOW)]


@pytest.mark.parametrize(
    "content",
    [
        [{"name": name, "value": value} for name, value in FIELDS],
        {"internetMessageHeaders": [{"name": name, "value": value} for name, value in FIELDS], "subject": "x"},
        {"value": [{"internetMessageHeaders": [{"name": name, "value": value} for name, value in FIELDS]}]},
        {"payload": {"headers": [{"name": name, "value": value} for name, value in FIELDS]}},
        {"Headers": [{"Name": name, "Value": value} for name, value in FIELDS]},
        {"message-headers": [[name, value] for name, value in FIELDS]},
        [list(pair) for pair in FIELDS],
        [f"{name}: {value}" for name, value in FIELDS],
        [TOP, BELOW],
        {"event_id": "e1", "tenant_id": "contoso", "received": [TOP, BELOW], "helo": "a"},
        {"headers": {"Subject": "x", "Received": [TOP, BELOW]}},
        {"headers": f"Subject: x\n{HEADER}"},
        {"message-headers": json.dumps([list(pair) for pair in FIELDS])},
    ],
)
def test_header_lists_in_json_are_read(content: object) -> None:
    for indent in (None, 2):
        found = read_received(json.dumps(content, indent=indent).encode("utf-8-sig"))
        assert found == ReceivedText([TOP, BELOW], "JSON header list")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"name": "Subject", "value": "x"}]', "its JSON header list has no Received field"),
        ('{"received": []}', "its JSON header list has no Received field"),
        ('{"received": [1]}', "is JSON without a header list"),
        ('{"received": null}', "is JSON without a header list"),
        ('{"subject": "x"}', "is JSON without a header list"),
        ('[{"name": "Received", "value": 1}, {"name": "a", "value": "b"}]', "is JSON without a header list"),
        ('{"headers": "[broken"}', "is JSON without a header list"),
        ('{"headers": "nothing"}', "its JSON header list has no Received field"),
        ("[1, 2]", "is JSON without a header list"),
        ("[]", "is JSON without a header list"),
        ('["a", "b"]', "is JSON without a header list"),
        ('{"value": [{"headers": []}, {"headers": []}]}', "holds 2 messages: give one"),
        ('{"received": ["a"]}\n{"received": ["b"]}\n', "holds several JSON values: give one message"),
        ('{"headers": ' * 2000 + "1" + "}" * 2000, "no Received line found"),
        ("{no JSON}", "no Received line found"),
    ],
)
def test_other_json_is_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(UnreadableError) as refused:
        read_received(text.encode())
    assert str(refused.value).startswith(reason)


@pytest.mark.parametrize("encoding", ["utf-16-le", "latin-1"])
@pytest.mark.parametrize(
    "before", ["", "Microsoft Mail Internet Headers Version 2.0\r\n", "Return-Path: <a@example>\r\n"]
)
def test_the_header_of_an_outlook_message_is_read(encoding: str, before: str) -> None:
    raw = outlook_message(before + HEADER.replace("\n", "\r\n"), encoding)
    assert read_received(raw) == ReceivedText([TOP, BELOW], "header in the Outlook message")


def test_other_outlook_files_are_refused_by_name() -> None:
    with pytest.raises(UnreadableError, match="is an Outlook message without an Internet header"):
        read_received(outlook_message(HEADER, stream="__substg1.0_1000001F"))
    with pytest.raises(UnreadableError, match="its header has no Received field"):
        read_received(outlook_message("Subject: x\r\n"))
    raw = outlook_message(HEADER)
    for size in (8, 80, 512, 1024, 1500):
        with pytest.raises(UnreadableError, match=r"is not a readable Outlook message|without an Internet header"):
            read_received(raw[:size])


@pytest.mark.parametrize("raw", [b"PK\x03\x04\x14\0\0\0", b"\x1f\x8b\x08\0\0", b"\x78\x9f\x3e\x22\0\0"])
def test_a_binary_file_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(UnreadableError, match="is a binary file: save the message as"):
        read_received(raw)
