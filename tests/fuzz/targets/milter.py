"""What an MTA sends: a stream of bytes, or frames of any content in any order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from streams.domain.outputs.replies import MAX_REPLY_BYTES
from streams.domain.server.connection import InboundConnection
from streams.edge.milter import codec
from streams.edge.milter.codec import FrameReader, ProtocolError
from streams.edge.milter.session import Session
from tests.fuzz.targets.service import check_reason
from tests.support.door import Doorway, standing_verdict
from tests.support.milter import MilterTold, frame, frames_of

SEPARATOR = b"\x1e"
"""Between frames that are given without their length."""
FRAMED, BYTEWISE, ADDS_HEADER, REPORTS, UNMATCHED = 1, 2, 4, 8, 16
"""Bits of the first byte of an input."""
HOST, OTHER = "mx1.example.com", "mx2.example.com"
_REPLY = re.compile(rb"([45])[0-9]{2} \1\.[0-9]+\.[0-9]+ [ -~]+")
_ANSWERED = frozenset(b"OCHMRTUNBE")
"""Commands that have exactly one answer, as headers have where the MTA has not left it out."""


def check(data: bytes) -> None:
    """The session ends with a reason, or each frame has the answer that it wants; nothing else happens to anybody."""
    options, stream = (data or b"\0")[0], data[1:]
    if options & FRAMED:
        stream = b"".join(frame(part[:1], part[1:]) for part in stream.split(SEPARATOR) if part)
    first = _talk(options, [stream])
    size = 1 if options & BYTEWISE else 7
    assert _talk(options, [stream[begin : begin + size] for begin in range(0, len(stream), size)]) == first


def _talk(options: int, chunks: list[bytes]) -> list[tuple[bytes, str]]:
    """What is answered to each frame, without the chance in it, and how it ends."""
    doorway = Doorway(is_enforcing=not options & REPORTS, adds_header=bool(options & ADDS_HEADER))
    if options & UNMATCHED:
        doorway.connectors.connector = None
    doorway.verdicts.put(standing_verdict(HOST, smtp_template_block="550 5.7.230 100% \r\n250 forged"))
    doorway.verdicts.put(standing_verdict(OTHER, throttle_minutes_per_hour=60, block_minutes_per_hour=0))
    told = MilterTold()
    session, reader = Session(doorway.door, told), FrameReader()
    seen: list[tuple[bytes, str]] = []
    is_answering_headers = True
    try:
        for command, content in _frames(reader, chunks, lambda: session.is_finished):
            answers = session.receive(command, content)
            if command == codec.OPTNEG:
                is_answering_headers = not answers[-1] & codec.NO_ANSWER_TO_HEADERS
            is_answered = command in _ANSWERED or (command == codec.HEADER and is_answering_headers)
            _check_answers(command, answers, is_answered=is_answered)
            seen.append((re.sub(rb"event=.*", b"", answers), chr(command)))
    except ProtocolError as error:
        check_reason(error, 200)
        seen.append((b"", str(error)))
    assert (told.failures, doorway.telemetry.failures) == ([], [])
    assert all(len(reason) < 1500 for reason in told.reasons)
    for event in doorway.told:
        _check_event(event)
    return seen


def _frames(reader: FrameReader, chunks: list[bytes], is_over: Callable[[], bool]) -> Iterator[tuple[int, bytes]]:
    for chunk in chunks:
        for item in reader.feed(chunk):
            yield item
            if is_over():
                return


def _check_answers(command: int, answers: bytes, *, is_answered: bool) -> None:
    """One answer where one is awaited, and none that an MTA would not take or that forges a reply."""
    found = frames_of(answers)
    added = [content for verb, content in found if verb == "h"]
    assert len(found) - len(added) == is_answered
    assert not added or (
        command == codec.END_OF_BODY and len(added) == 1 and re.fullmatch(rb"X-TES\0[ -~]+\0", added[0])
    )
    for verb, content in found:
        assert verb in ("O" if command == codec.OPTNEG else "cayh")
        if verb == "y":
            reply = content[:-1].replace(b"%%", b"")
            assert content[-1:] == b"\0"
            assert b"%" not in reply
            assert _REPLY.fullmatch(content[:-1])
            assert len(content[:-1].replace(b"%%", b"%")) <= MAX_REPLY_BYTES


def _check_event(event: InboundConnection) -> None:
    for text in (event.helo, event.message_id or "", event.tls_subject or "", event.connector_id, *event.received):
        text.encode()
        assert "\0" not in text
    assert event.source_ip
    assert len(event.received) <= 256
