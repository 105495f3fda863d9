"""The milter protocol in bytes: what is cut, oversized or wrong is named, and any text of a client is taken."""

from __future__ import annotations

import struct

import pytest

from streams.edge.milter import codec
from streams.edge.milter.codec import FrameReader, Options, ProtocolError
from tests.support.milter import frame, macros, strings


def test_frames_come_out_whole_however_they_arrive() -> None:
    sent = [(ord("H"), b"a\0"), (ord("N"), b""), (ord("L"), b"Received\0" + b"x" * 70_000 + b"\0"), (ord("Q"), b"")]
    data = b"".join(frame(bytes((command,)), content) for command, content in sent)
    for size in (1, 3, 4, 5, 1000, len(data)):
        reader = FrameReader()
        parts = [data[begin : begin + size] for begin in range(0, len(data), size)]
        assert [item for part in parts for item in reader.feed(part)] == sent
        assert not reader.is_within_frame


@pytest.mark.parametrize("length", [0, codec.MAX_FRAME_BYTES + 1, 0xFFFFFFFF, struct.unpack(">I", b"EHLO")[0]])
def test_a_length_that_no_frame_has_is_refused_behind_the_frames_before_it(length: int) -> None:
    frames = FrameReader().feed(frame(b"N") + struct.pack(">I", length) + b"rest")
    assert next(frames) == (ord("N"), b"")
    with pytest.raises(ProtocolError, match=f"a frame of {length} bytes: must be 1 to 1048576"):
        next(frames)


def test_the_longest_frame_is_taken_and_one_that_is_cut_is_known() -> None:
    longest = frame(b"L", b"x" * (codec.MAX_FRAME_BYTES - 1))
    reader = FrameReader()
    assert list(reader.feed(longest[:-1])) == []
    assert reader.is_within_frame
    assert [len(content) for _, content in reader.feed(longest[-1:])] == [codec.MAX_FRAME_BYTES - 1]


def test_options_are_read_and_answered() -> None:
    assert codec.parse_options(struct.pack(">III", 6, 0x1FF, 0x1FFFFF) + b"more") == Options(6, 0x1FF, 0x1FFFFF)
    assert codec.options_answer(Options(6, 1, 0x390)) == frame(b"O", struct.pack(">III", 6, 1, 0x390))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "options of 0 bytes: must be 12"),
        (b"\0" * 11, "options of 11 bytes: must be 12"),
        (struct.pack(">III", 1, 0, 0), "version 1: must be at least 2"),
    ],
)
def test_options_that_are_none_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        codec.parse_options(content)


@pytest.mark.parametrize(
    ("content", "address"),
    [
        (b"mx.example.com\x004\x00\x19192.0.2.1\0", b"192.0.2.1"),
        (b"mx.example.com\x006\x00\x19IPv6:2001:db8::1\0", b"IPv6:2001:db8::1"),
        (b"\xff\xfe\x004\x00\x00\xff\0", b"\xff"),
        (b"\x006\0\0::1\0", b"::1"),
        (b"localhost\0L\0\0/run/x\0", None),
        (b"unknown\0U", None),
        (b"unknown\0U\0\0\0", None),
    ],
)
def test_the_address_of_a_connection_is_read(content: bytes, address: bytes | None) -> None:
    assert codec.parse_connect(content) == address


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"mx",
        b"mx\0",
        b"mx\x004",
        b"mx\x004\0",
        b"mx\x004\0\0",
        b"mx\x004\0\x01.2",
        b"mx\0X\0\0a\0",
        b"m\x004\0\0a\0b\0",
    ],
)
def test_a_connection_that_is_cut_is_refused(content: bytes) -> None:
    with pytest.raises(ProtocolError, match="a connection"):
        codec.parse_connect(content)


def test_strings_headers_and_macros_take_any_bytes() -> None:
    assert codec.parse_strings(b"xn--a.org\0") == [b"xn--a.org"]
    assert codec.parse_strings(b"\xff\0\0") == [b"\xff", b""]
    assert codec.parse_header(b"Re\xe7u\0\xff\n\t\x01\0") == (b"Re\xe7u", b"\xff\n\t\x01")
    given = {b"i": b"4X", b"{cert_subject}": "Größe".encode(), b"{\xff}": b"\x80", b"{tes_tenant}": b""}
    stripped = {b"i": b"4X", b"cert_subject": "Größe".encode(), b"\xff": b"\x80", b"tes_tenant": b""}
    assert codec.parse_macros(macros(b"M", given)[5:]) == (ord("M"), stripped)
    assert codec.parse_macros(b"C") == (ord("C"), {})


@pytest.mark.parametrize("content", [b"", b"a", b"a\0b"])
def test_a_string_without_its_end_is_refused(content: bytes) -> None:
    with pytest.raises(ProtocolError, match="a string without its end"):
        codec.parse_strings(content)


@pytest.mark.parametrize("texts", [(b"Received",), (b"Received", b"x", b"y")])
def test_a_header_is_a_name_and_a_value(texts: tuple[bytes, ...]) -> None:
    with pytest.raises(ProtocolError, match=rf"a header of {len(texts)} strings: must be 2"):
        codec.parse_header(strings(b"L", *texts)[5:])


@pytest.mark.parametrize("content", [b"", b"Mi", b"Mi\0", b"Mi\x004\0j\0"])
def test_macros_that_are_cut_are_refused(content: bytes) -> None:
    with pytest.raises(ProtocolError):
        codec.parse_macros(content)


@pytest.mark.parametrize(
    ("reply", "sent"),
    [
        ("450 4.7.230 Connecting", b"y450 4.7.230 Connecting\0"),
        ("550 5.7.230 100% %s %%", b"y550 5.7.230 100%% %%s %%%%\0"),
        ("550 5.7.230 " + "x" * 498, b"y550 5.7.230 " + b"x" * 498 + b"\0"),
    ],
)
def test_a_reply_is_one_line_with_its_end(reply: str, sent: bytes) -> None:
    answer = codec.reply_answer(reply)
    assert answer == struct.pack(">I", len(sent)) + sent


@pytest.mark.parametrize(
    "reply",
    [
        "250 2.0.0 Ok",
        "450 5.7.230 other class",
        "450 4.7.230",
        "45 4.7.230 short",
        "450 4.7.230 a\r\n250 2.0.0 forged",
        "450 4.7.230 a\n250 forged",
        "450 4.7.230 a\0b",
        "450 4.7.230 a\n",
        "450 4.7.230 größer",
        "450 4.7.230 \x1b[31m",
        "550 5.7.230 " + "x" * 499,
        "",
    ],
)
def test_what_is_no_reply_that_refuses_is_never_sent(reply: str) -> None:
    with pytest.raises(ValueError, match="no reply of SMTP"):
        codec.reply_answer(reply)


def test_a_header_is_added_in_printable_ascii_only() -> None:
    assert codec.add_header("X-TES", "action=BLOCK") == frame(b"h", b"X-TES\0action=BLOCK\0")
    for value in ("", "a\nb", "a\0b", "é"):
        with pytest.raises(ValueError, match="no value of a header"):
            codec.add_header("X-TES", value)
