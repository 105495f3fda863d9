"""Hypothesis over every target: bytes of no form, inputs of the right form, and sound inputs with parts changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.policies.files import shipped_policies
from streams.wire.schemas import load_schema
from tests.fuzz.seeds import CORPUS_DIR
from tests.fuzz.targets import TARGETS, avro, milter
from tests.fuzz.targets.headers import SEPARATOR
from tests.fuzz.targets.service import LINE, SERVER, TENANT, codec
from tests.support.avro_values import values
from tests.support.milter import connect, frame, greeting, macros, message, offer

few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_WORDS = [" by ", " with ", " id ", "from ", "(", ")", ";", "[", "]", ":", "\0", "\r\n ", "15.1.2507.39", LINE]
_HEADER_TEXT = st.lists(
    st.one_of(st.sampled_from([*_WORDS, "mx.example.com", "mapi"]), st.text(max_size=8)), max_size=20
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
_MOMENTS = st.sampled_from(["2027-01-16T00:00:00Z", "2027-02-01T00:00:00.5+01:00", "2099-12-31T23:59:59.999Z", "x"])


@st.composite
def changed(draw: st.DrawFn, target: str) -> bytes:
    """An input of the corpus with some spans replaced by others, or by any bytes."""
    files = sorted((CORPUS_DIR / target).iterdir())
    data = draw(st.sampled_from(files)).read_bytes()
    for _ in range(draw(st.integers(0, 4))):
        other = draw(st.one_of(st.binary(max_size=8), st.just(data)))
        begin, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        data = data[:begin] + other[: draw(st.integers(0, 200))] + data[end:]
    return data


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.data())
@few
def test_no_bytes_break_a_promise(target: str, data: st.DataObject) -> None:
    TARGETS[target](data.draw(st.one_of(st.binary(max_size=300), changed(target))))


@given(st.lists(_HEADER_TEXT.map("".join), max_size=5))
@few
def test_no_line_of_header_words_breaks_detection(parts: list[str]) -> None:
    TARGETS["headers"](SEPARATOR.join(parts).encode())
    TARGETS["received_text"]("\n".join(f"Received: {part}" for part in parts).encode())


_FRAMES = st.sampled_from(
    [
        *(
            offer(),
            offer(6, 0, 0),
            connect(),
            connect(b"IPv6:::1", b"6"),
            connect(b"x", b"L"),
            greeting(),
            greeting(b"\xff"),
        ),
        *(*message()[:2], *message()[2:], frame(b"T"), frame(b"B", b"x"), frame(b"E"), frame(b"A"), frame(b"K")),
        macros(b"C", {b"{tes_tenant}": b"t", b"{tes_connector}": b"c"}),
        macros(b"H", {b"{cert_subject}": b"\xff"}),
        macros(b"N", {b"i": b"4X"}),
    ]
)


@given(st.integers(0, 255), st.lists(st.one_of(_FRAMES, _FRAMES, st.binary(max_size=20).map(lambda b: frame(b"L", b)))))
@few
def test_no_order_of_frames_breaks_a_session(options: int, frames: list[bytes]) -> None:
    # A beginning in order gets further.
    TARGETS["milter"](bytes((options & ~milter.FRAMED,)) + b"".join([offer(), connect(), *message(), *frames]))
    TARGETS["milter"](bytes((options & ~milter.FRAMED,)) + b"".join(frames))


def lines_of(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[bytes]:
    """JSON lines whose fields are mostly sound; some are missing, or anything."""
    mostly = {name: st.one_of(sound, sound, sound, _JSON) for name, sound in fields.items()}
    row = st.fixed_dictionaries({}, optional=mostly) | st.fixed_dictionaries(fields)
    return st.lists(row.map(lambda fields: orjson.dumps(fields, option=orjson.OPT_NON_STR_KEYS)), max_size=6).map(
        b"\n".join
    )


COMMANDS = lines_of(
    {
        "command_id": st.sampled_from("abcdef"),
        "tenant_id": st.sampled_from([TENANT, TENANT, "other"]),
        "issued_at": _MOMENTS,
        "issued_by": st.just("admin"),
        "role": st.sampled_from(["OPERATOR", "TENANT_ADMIN"]),
        "kind": st.sampled_from(
            ["PAUSE_CREATE", "PAUSE_CANCEL", "PAUSE_SERVER", "EXCEPTION_GRANT", "EXCEPTION_REVOKE", "OVERRIDE_BUILD"]
        ),
        "days": st.one_of(st.none(), st.integers(-1, 100)),
        "server": st.sampled_from([SERVER, SERVER.upper(), None, "unknown"]),
        "owner": st.sampled_from(["owner", " "]),
        "reason": st.sampled_from(["reason", None]),
        "build": st.sampled_from(["15.1.2507.61", "15.1.2507.39", "15.1", "9.9.9.9"]),
        "expires_at": st.one_of(st.none(), _MOMENTS),
    }
)
CONNECTIONS = lines_of(
    {
        "event_id": st.sampled_from("abcdef"),
        "observed_at": _MOMENTS,
        "tenant_id": st.sampled_from([TENANT, "", "a/b"]),
        "connector_type": st.sampled_from(["ON_PREMISES", "PARTNER", "NONE"]),
        "source_ip": st.sampled_from(["192.0.2.1", ""]),
        "helo": st.one_of(st.just(""), st.text(max_size=5)),
        "received": st.lists(_HEADER_TEXT.map("".join), max_size=3),
        "outcome": st.sampled_from(["ACCEPTED", "DEFERRED", "REJECTED", None]),
        "recipients": st.integers(-1, 2**31),
        "refused_before": st.integers(-1, 2**31),
    }
)


@given(COMMANDS)
@few
def test_no_sequence_of_commands_breaks_a_promise(lines: bytes) -> None:
    TARGETS["commands"](lines)


@given(CONNECTIONS)
@few
def test_no_sequence_of_connections_breaks_a_promise(lines: bytes) -> None:
    TARGETS["connections"](lines)


@pytest.mark.parametrize("index", range(len(avro.SCHEMAS)))
@given(data=st.data())
@few
def test_no_well_formed_record_breaks_a_worker(index: int, data: st.DataObject) -> None:
    schema = avro.SCHEMAS[index]
    record = data.draw(values(load_schema(schema), {}))
    # A sound record with some fields of any value gets further than one that is any in all of them.
    names = data.draw(st.sets(st.sampled_from(sorted(record)), max_size=3))
    mixed = avro.sample(schema) | {name: record[name] for name in names}
    for row in (record, mixed):
        avro.check(bytes((index,)) + codec(schema).encode(row)[5:])


_SCALARS = st.sampled_from(
    [
        *("0", "-1", "61", "0x10", "1:2", "1.5", ".inf", "true", "null", "~", "2026-09-01", "2026-13-01", "enforce"),
        *("9999-12-31T23:59:59-14:00", "''", "[]", "{}", "[7, 1]", "{a: 1}", "'15.1.2507.61'", "floor", "all", "none"),
    ]
)


@st.composite
def policy_texts(draw: st.DrawFn) -> str:
    """A shipped policy with some of its scalars and lines changed."""
    name = draw(st.sampled_from(shipped_policies()))
    lines = (CORPUS_DIR / "policies" / f"seed-{shipped_policies().index(name):02}").read_text("utf-8").splitlines()
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1))
        key = lines[place].rpartition(": ")[0]
        scalar = draw(st.one_of(_SCALARS, st.text(max_size=10)))
        lines[place] = draw(st.sampled_from([f"{key}: {scalar}", "", lines[place - 1], f"{lines[place]}\n{key}: 1"]))
    return "\n".join(lines)


def _encoded(texts: Callable[..., st.SearchStrategy[str]]) -> st.SearchStrategy[bytes]:
    return texts().map(lambda text: text.encode("utf-8", "replace"))


@given(_encoded(policy_texts))
@few
def test_no_change_of_a_shipped_policy_breaks_the_loader(text: bytes) -> None:
    TARGETS["policies"](text)
