"""No input takes more than linear time: input sixteen times as long may cost little more than sixteen times as much.

Sizes stay below the bounds that the product sets, since above them the cost does not grow at all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from streams.domain.exchange.clauses import MAX_LINE_CHARS
from streams.domain.exchange.detection import MAX_LINES, detect
from streams.domain.policy.content import PolicyError
from streams.domain.validation import MalformedError
from streams.edge.milter.codec import FrameReader, ProtocolError
from streams.edge.milter.session import Session
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import parse_policy
from streams.policies.strict_yaml import MAX_TEXT_CHARS
from streams.wire.codec import MAX_VALUE_BYTES
from streams.wire.records import command_record, connection_record
from streams.wire.server_report import rows_of_file
from tests.fuzz.growth import Call, excess
from tests.fuzz.targets import avro
from tests.fuzz.targets.received_text import read_or_refuse
from tests.fuzz.targets.service import LINE, codec
from tests.support.door import Doorway
from tests.support.milter import MilterTold, connect, frame, greeting, macros, message, offer, strings

FACTOR = 16
MOST_LINES = 1.5
"""Linear is 1 and quadratic is 16."""

Prepare = Callable[[int], Call]

_UNITS = ["(", ")", "()", "[", ";", ":", ".", " ", "\0", "\r\n ", "a", "9", "15.1.", "\u0130", " by ", " with ", " id "]
_UNITS += [" by a", " with mapi", " id 15", " by a with mapi id 1;", "((a) ", " by [", " by a:b:c ", ' by "', "From "]


MILTER_FRAMES = [
    *(frame(b"A"), frame(b"U", b"\0"), greeting(), *message()[:3], strings(b"L", b"a", b"\n " * 20), frame(b"T")),
    macros(b"C", {b"%d" % number: b"x" for number in range(20)}),
    macros(b"N", {b"{tes_tenant}": b"x" * 500}),
]


def answered(data: bytes) -> None:
    """Read a stream in small pieces, and answer it."""
    session, reader = Session(Doorway().door, MilterTold()), FrameReader()
    for begin in range(0, len(data), 100):
        for command, content in reader.feed(data[begin : begin + 100]):
            session.receive(command, content)


def _line(unit: str) -> Prepare:
    def prepare(size: int) -> Call:
        line = f"from a by b {unit * (size // len(unit))}"
        return lambda: detect([line], "", "")

    return prepare


@pytest.mark.parametrize("unit", _UNITS)
def test_a_line_is_read_in_linear_time(unit: str) -> None:
    assert_linear(_line(unit), MAX_LINE_CHARS // FACTOR - 32)


def test_lines_are_read_in_linear_time_and_no_more_than_the_bound() -> None:
    def prepare(count: int) -> Call:
        return lambda: detect([LINE] * count, "", "")

    assert_linear(prepare, MAX_LINES // FACTOR)
    assert excess(prepare, MAX_LINES, FACTOR) < 2 / FACTOR


_TEXT_UNITS = [
    "\n",
    "\r\n",
    " \n",
    "a",
    "a-",
    "a:\n",
    " a\n",
    "Received: x\n",
    "Received:\n\n",
    "by a;\n",
    "from a\n",
    "1:2",
]


@pytest.mark.parametrize(
    "unit",
    [*_TEXT_UNITS, "Received: " + LINE + "\n", "by " + "a" * 70 + "\n", "\t", "a \t", ">", "> > a\n", "[", '["a",'],
)
def test_a_message_is_read_in_linear_time(unit: str) -> None:
    def prepare(size: int) -> Call:
        raw = (unit * (size // len(unit) + 1)).encode()
        return lambda: read_or_refuse(raw)

    assert_linear(prepare, 2048)


def _list(name: str, item: str) -> Callable[[int], str]:
    return lambda size: f"{name}: [{','.join([item] * (size // (len(item) + 1)))}]"


_POLICY_SHAPES: dict[str, Callable[[int], str]] = {
    "unknown fields": lambda size: "\n".join(f"k{n}: 1" for n in range(size // 9)),
    "long names": lambda size: "\n".join(f"{n:064}: 1" for n in range(size // 68)),
    "products": lambda size: "products:\n" + "\n".join(f" {n:060}: {{accept: no}}" for n in range(size // 76)),
    "floors": lambda size: "products: {2016: {accept: floor, floors: [" + "x," * (size // 2) + "]}}",
    "stages": _list("ladder", "{from_day: 1}"),
    "notices": _list("notify_before_days", "0"),
    "connectors": lambda size: "scope: {connector_types: [" + "X," * (size // 2) + "]}",
    "quotes": lambda size: "description: '" + "''" * (size // 2) + "'",
    "escapes": lambda size: 'description: "' + "\\n" * (size // 2) + '"',
    "block": lambda size: "description: |\n" + " a\n" * (size // 3),
    "folded": lambda size: "description:\n" + " a\n" * (size // 3),
    "comments": lambda size: "#\n" * (size // 2) + "a: b",
    "words": lambda size: "description: " + "a " * (size // 2),
    "flow keys": lambda size: "{" + ",".join(f"k{n}: 1" for n in range(size // 9)) + "}",
    "open lists": lambda size: "- " * (size // 2),
    "open mappings": lambda size: "\n".join("[" * 5 for _ in range(size // 6)),
    "digits": lambda size: "version: " + "9" * size,
    "base 60": lambda size: "version: " + "1:" * (size // 2) + "1",
    "aliases": lambda size: "\n".join(
        ["a0: &a0 x", *(f"a{n}: &a{n} [*a{n - 1},*a{n - 1}]" for n in range(1, size // 24))]
    ),
    "merges": lambda size: "\n".join(
        ["a0: &a0 {b: 1}", *(f"a{n}: &a{n} {{<<: *a{n - 1}}}" for n in range(1, size // 24))]
    ),
}


@pytest.mark.parametrize("shape", _POLICY_SHAPES)
def test_a_policy_is_read_in_linear_time(shape: str) -> None:
    catalogue = shipped_catalogue()

    def prepare(size: int) -> Call:
        text = _POLICY_SHAPES[shape](size)
        return lambda: raises(PolicyError, lambda: parse_policy(text, "p", catalogue))

    assert_linear(prepare, MAX_TEXT_CHARS // FACTOR // 6)


_JSON_UNITS = ["[", "[],", "{},", '"x",', "1,", '"\\u0130",']


@pytest.mark.parametrize("read", [connection_record, command_record], ids=["connection", "command"])
@pytest.mark.parametrize("unit", _JSON_UNITS)
def test_a_json_line_is_read_in_linear_time(read: Callable[[bytes], object], unit: str) -> None:
    def prepare(size: int) -> Call:
        value = b"[" + unit.encode() * (size // len(unit)) + b"1]"
        fields = {"received": value, "tenant_id": value, "command_id": b'"c"', "kind": value}
        line = b"{" + b",".join(b'"%s":%s' % (name.encode(), field) for name, field in fields.items()) + b"}"
        return lambda: raises(MalformedError, lambda: read(line))

    assert_linear(prepare, 4096)


def test_unknown_fields_of_a_command_are_named_in_linear_time() -> None:
    fixed = b'{"command_id":"c","tenant_id":"t","issued_at":"2027-01-16T00:00:00Z"'

    def prepare(count: int) -> Call:
        line = fixed + b"".join(b',"%d":1' % number for number in range(count)) + b"}"
        return lambda: command_record(line)

    assert_linear(prepare, 1000)


@pytest.mark.parametrize("unit", ["[", "[],", "{},", "1,"])
def test_a_row_is_read_in_linear_time(unit: str) -> None:
    def prepare(size: int) -> Call:
        line = b'{"tenant_id":"t","server":"s","cves":[' + unit.encode() * (size // len(unit)) + b"1]}"
        return lambda: raises(MalformedError, lambda: list(rows_of_file([line])))

    assert_linear(prepare, 4096)


@pytest.mark.parametrize("schema", avro.SCHEMAS)
@pytest.mark.parametrize("unit", [b"\0", b"\1", b"\2", b"\2\0", b"\3", b"\x7e", b"\x80", b"\xff", b"\2a\2", b"\1\2\2a"])
def test_avro_bytes_are_read_in_linear_time(schema: str, unit: bytes) -> None:
    reader, head = codec(schema), avro.header(schema)

    def prepare(size: int) -> Call:
        value = head + unit * (size // len(unit))
        return lambda: raises(ValueError, lambda: reader.decode(value))

    assert_linear(prepare, MAX_VALUE_BYTES // FACTOR // 16)


def test_avro_lists_are_read_in_linear_time() -> None:
    reader, record = codec("inbound_connection"), avro.sample("inbound_connection")

    def prepare(count: int) -> Call:
        value = reader.encode(record | {"received": ["a"] * count})
        return lambda: reader.decode(value)

    assert_linear(prepare, 4000)


@pytest.mark.parametrize("number", range(len(MILTER_FRAMES)))
def test_frames_are_read_in_linear_time(number: int) -> None:
    def prepare(size: int) -> Call:
        unit = MILTER_FRAMES[number]
        many = b"".join([offer(6, 0, 0), connect(), *message()[:1], *[unit] * (size // len(unit))])
        return lambda: raises(ProtocolError, lambda: answered(many))

    assert_linear(prepare, 4096)


def raises(kind: type[Exception], call: Call) -> None:
    """Like `pytest.raises`, without its cost; a call that raises nothing is well too."""
    with suppress(kind):
        call()


def assert_linear(prepare: Prepare, size: int) -> None:
    """Sixteen times the input executes about sixteen times as many lines."""
    lines = excess(prepare, size, FACTOR)
    assert lines < MOST_LINES, f"{lines:.2f} times more lines than linear"
