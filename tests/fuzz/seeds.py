"""Writes the seeds of the corpus: real shapes of each input, and the edges of each format.

`python -m tests.fuzz.seeds` writes them again; what the fuzzer found beside them stays.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from streams.domain.keys import ServerKey
from streams.policies.files import shipped_policies
from streams.service.simulation import Simulation
from streams.state.server_row import encode_state
from streams.state.tenant_row import encode_tenant
from streams.wire.records import to_json_line, to_record
from tests.fuzz.targets.avro import SCHEMAS, sample
from tests.fuzz.targets.headers import SEPARATOR
from tests.fuzz.targets.http_requests import HOST as HOST_OF_HTTP
from tests.fuzz.targets.milter import ADDS_HEADER, BYTEWISE, FRAMED, HOST, OTHER, REPORTS, UNMATCHED
from tests.fuzz.targets.milter import SEPARATOR as SEPARATED
from tests.fuzz.targets.service import LINE, SERVER, START, TENANT, codec, connection, pause, rulebook
from tests.support.milter import LINE as EXCHANGE_LINE
from tests.support.milter import OLD_LINE, connect, frame, greeting, macros, message, offer, strings
from tests.support.outlook import outlook_message

CORPUS_DIR = Path(__file__).parent / "corpus"
DATA_DIR = Path(__file__).parents[1] / "data"
_COMMAND = {
    "command_id": "c1",
    "tenant_id": TENANT,
    "issued_at": "2027-01-16T00:00:00.000Z",
    "issued_by": "admin",
    "role": "OPERATOR",
    "kind": "PAUSE_CREATE",
}
_POLICY = """\
policy_id: p
version: 1
effective_at: 2026-09-01
products:
  Exchange 2000 Server: {accept: none}
  Exchange Server 2003: {accept: none}
  Exchange Server 2007: {accept: none}
  Exchange Server 2010: {accept: none}
  Exchange Server 2013: {accept: none}
  Exchange Server 2016: {accept: floor, floors: ["15.1.2507.61"]}
  Exchange Server 2019: {accept: floor, floors: ["15.2.1748.39"]}
  Exchange Server SE: {accept: all}
"""


def _lines() -> list[str]:
    """One real line of each shape."""
    shapes: dict[str, str] = {}
    for name, column in (("received_samples.csv", "form"), ("received_shapes.csv", "shape")):
        with (DATA_DIR / name).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                shapes.setdefault(row[column], row["received"])
    return list(shapes.values())


def _headers() -> Iterator[bytes]:
    lines = _lines()
    for index in range(0, len(lines), 4):
        yield SEPARATOR.join(["mx.example.com", "192.0.2.1", *lines[index : index + 4]]).encode()
    edges = ["", " by ", "((((", "))))", "by [IPv6:2001:db8::1] with mapi id 15.1", f"{LINE}\0", LINE.upper(), "by İ.Σ"]
    for line in [*edges, LINE.replace(" ", "\r\n\t"), LINE.replace("15.1.2507.39", "999999999.1.1.1."), LINE * 9]:
        yield SEPARATOR.join(["", "", line]).encode()
    yield b"\xff\xfe\x1e\x80"
    open_comment = f"from a; {LINE.partition(';')[0]} ("
    yield SEPARATOR.join(["", "", open_comment, f"{open_comment}; Mon, 1 Dec 2025 10:00:00 +0000"]).encode()


def _received_text() -> Iterator[bytes]:
    for index, line in enumerate(_lines()):
        value = f"Received: {line}"
        yield (f"From x\n{value}\n{value}\nSubject: a\n\nbody\nReceived: no" if index % 2 else line).encode()
    yield f"  Received: {LINE}\r\n\r\n  Received: {LINE}\r\n".encode()
    yield f"Received: {LINE}".encode("utf-16")
    yield b"\xef\xbb\xbfRECEIVED\t:\rby a;:"
    yield b"\n".join(LINE.encode().split(b" "))
    yield f"> Received: {LINE}\n> Subject: x\n".encode()
    yield f"Original message headers:\n\nReceived: {LINE}\n".encode()
    yield json.dumps({"internetMessageHeaders": [{"name": "Received", "value": LINE}]}).encode()
    yield json.dumps([["Received", LINE], ["Subject", "x"]]).encode()
    yield json.dumps([f"Received: {LINE}"]).encode()
    yield outlook_message(f"Received: {LINE}\r\n")


def _policies() -> Iterator[bytes]:
    for name in shipped_policies():
        yield (files("streams.policies.data") / "policies" / f"{name}.yaml").read_bytes()
    for more in (
        "scope: {rollout: {Exchange Server 2016: 0001-01-01}, connector_types: [NONE, NONE], cohort_percent: 0}",
        "critical_patches: {grace_days: 0, known_exploited_only: false}",
        "ladder: [{from_day: 0, throttle_minutes_per_hour: 60, block_minutes_per_hour: 0}]",
        "notify_before_days: []",
        "mode: report",
        "version: 2",
        "<<: {a: 1}",
        "description: &a [*a]",
        "? [a]\n: b",
        "stale_after_days: 0x" + "f" * 70,
        "cohort: 1:2:3.4",
    ):
        yield f"{_POLICY}{more}\n".encode()
    for moment in ("9999-12-31T23:59:59-14:00", "0001-01-01", "2026-09-01T00:00:00.0009Z", "'2026-09-01T10'", "1"):
        yield _POLICY.replace("2026-09-01", moment).encode()
    yield b"[" * 400
    yield "\n".join(["a0: &a0 x", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30))]).encode()
    yield b"!!bool x"
    yield b"---\n---\n"


def _command_lines() -> Iterator[bytes]:
    def line(**fields: Any) -> bytes:
        return json.dumps(_COMMAND | fields).encode()

    until = {"expires_at": "2027-06-01T00:00:00Z", "reason": "r"}
    yield line(days=5) + b"\n" + line(command_id="c2", kind="PAUSE_CANCEL") + b"\n" + line(days=5)
    yield line(kind="PAUSE_SERVER", server=SERVER.upper(), days=90) + b"\n" + line(command_id="c2", days=30)
    yield (
        line(kind="EXCEPTION_GRANT", server=SERVER, owner="o", **until)
        + b"\n"
        + line(command_id="c2", kind="EXCEPTION_REVOKE", server=SERVER, issued_at="2027-02-01T00:00:00Z")
    )
    yield line(kind="OVERRIDE_BUILD", server=SERVER, build="15.1.2507.61", **until)
    spoilt: tuple[dict[str, Any], ...] = (
        {"role": "TENANT_ADMIN", "kind": "OVERRIDE_BUILD"},
        {"kind": []},
        {"role": {}},
        {"tenant_id": ""},
        {"days": 1e300},
        {"issued_at": "9999-12-31T23:59:59-14:00"},
        {"expires_at": "0001-01-01T00:00:00+14:00", "kind": "EXCEPTION_GRANT", "server": SERVER, "owner": "o"},
        {"issued_at": "2099-12-31T23:59:59.999Z", "days": 90},
        {"nested": [[[[[]]]]]},
        {"x" * 500: 1},
    )
    for fields in spoilt:
        yield line(**fields)
    yield b"{}\n[]\n\xff\nnull\n" + b"[" * 2000


def _connection_lines() -> Iterator[bytes]:
    row = json.loads(to_json_line(to_record(connection())))

    def line(**fields: Any) -> bytes:
        return json.dumps(row | fields).encode()

    fixed = LINE.replace("2507.39", "2507.66")
    yield b"\n".join([line(), line(event_id="e1", received=[fixed], outcome="ACCEPTED"), line()])
    for received in (["x"], [""], [], _lines()[:6], [LINE, fixed, LINE]):
        yield line(received=received, helo="", source_ip="")
    spoilt: tuple[dict[str, Any], ...] = (
        {"connector_type": []},
        {"outcome": {}},
        {"received": [[[[]]]]},
        {"received": None},
        {"recipients": 2**63},
        {"refused_before": 2**63},
        {"refused_before": 12},
        {"observed_at": "2099-12-31T23:59:59.999999999Z"},
        {"observed_at": "1999-12-31T23:59:59Z"},
        {"event_id": "e" * 256},
        {"helo": "\0\n/\u0130\u03a3"},
        {"connector_type": "PARTNER", "tenant_id": "a.B-_9"},
    )
    for fields in spoilt:
        yield line(**fields)


def _avro() -> Iterator[bytes]:
    for index, schema in enumerate(SCHEMAS):
        value = codec(schema).encode(sample(schema))
        yield bytes((index,)) + value[5:]
        yield bytes((index + 129,)) + value
        yield bytes((index,)) + value[5 : len(value) // 2]
        yield bytes((index,)) + value[5:] + b"\0"
    later = sample("inbound_connection") | {"observed_at": START + 60_000, "event_id": "e1"}
    yield b"\0" + codec("inbound_connection").encode(later)[5:]
    for value in (b"", b"\0", b"\0\0\0\xff\xff\0", b"\0\0\0\0\1" + b"\xff" * 12, b"{}"):
        yield b"\x81" + value
    policy = sample("policy")
    for field in ("effective_at", "published_at"):
        yield b"\2" + codec("policy").encode(policy | {field: 2**62})[5:]
    yield b"\1" + codec("admin_command").encode(sample("admin_command") | {"expires_at": -(2**63)})[5:]


def _milter() -> Iterator[bytes]:
    names = {HOST.encode(): OLD_LINE, OTHER.encode(): OLD_LINE.replace(b"mx1", b"mx2"), b"xn--a.org": b"\xff\n\ty"}
    for name, line in names.items():
        start = [offer(), connect(), greeting(name)]
        given = macros(b"N", {b"i": b"4X", b"{cert_subject}": b"\xc3\xbc"})
        one = [*message([line, EXCHANGE_LINE % b"15.1.2507.61"], 2), frame(b"A")]
        yield b"\0" + b"".join([*start, *message([line])[:-1], given, frame(b"N"), *one * 4, frame(b"Q")])
        yield bytes((BYTEWISE | ADDS_HEADER | REPORTS,)) + b"".join([*start, *one[:-1], frame(b"E"), *one])
    macros_of_all = {b"{tes_tenant}": b"t", b"{tes_connector}": b"c", b"{tes_connector_type}": b"PARTNER"}
    tls = {b"{verify}": b"OK", b"{cn_subject}": b"x", b"{cert_fp}": b"AB:CD", b"{cert_subject}": b"/CN=x"}
    attributed = [
        offer(6, 0, 0),
        macros(b"C", macros_of_all),
        connect(b"IPv6:::1", b"6"),
        macros(b"H", tls),
        greeting(),
    ]
    for frames in (
        [*attributed, strings(b"U", b"NOOP"), *message(), frame(b"B", b"x"), frame(b"E"), frame(b"K"), connect()],
        [offer(2, 1, 0x7F), connect(b"/run/x", b"L"), *message()],
        [offer(), frame(b"C", b"x\0U"), frame(b"Q"), frame(b"N")],
        [offer(), macros(b"C", {b"{tes_tenant}": b"a/b"}), connect(b"999.1"), strings(b"M", b"<>")],
    ):
        yield bytes((FRAMED,)) + SEPARATED.join(item[4:] for item in frames)
        yield bytes((UNMATCHED,)) + b"".join(frames)[:-1]
    yield b"\0EHLO mx.example.com\r\n"
    yield b"\0\0\0\0\0"


def _http() -> Iterator[bytes]:
    line = OLD_LINE.decode(errors="replace")
    body = json.dumps({"source_ip": "192.0.2.1", "helo": HOST_OF_HTTP, "received": [line], "recipients": 1}).encode()
    start = b"POST /v1/decide HTTP/1.1\r\nHost: edge\r\nContent-Type: application/json\r\n"
    whole = start + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    chunked = start + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
        len(body),
        body,
    )
    yield b"\0" + whole * 3
    yield b"\1" + chunked + whole + b"\r\n\r\n" + chunked[:-3]
    yield b"\2" + whole.replace(b"decide", b"decide-mail") + whole.replace(b"1.1\r", b"1.0\r") + whole
    yield b"\0" + whole.replace(b"Host", b"Connection: upgrade\r\nUpgrade: websocket\r\nHost") + b"x"
    yield b"\0GET /v1/openapi.json HTTP/1.1\r\nHost: edge\r\n\r\nHEAD / HTTP/1.1\r\nHost: edge\r\n\r\n" + whole
    yield b"\0" + whole.replace(b"192.0.2.1", b"\\u001b[31m") + whole + b"EHLO mx1\r\n"
    yield b"\0CONNECT mx1:25 HTTP/1.1\r\nHost: mx1\r\n\r\nEHLO"


def _rows() -> Iterator[bytes]:
    simulation = Simulation(rulebook())
    simulation.feed(connection())
    simulation.command(pause())
    (report,) = simulation.results.servers.values()
    line = to_json_line(to_record(report))
    row = json.loads(line)
    yield line
    yield line + line
    spoilt: tuple[dict[str, Any], ...] = (
        {"support_ends_on": "0001-01-01"},
        {"support_ends_on": 2**31},
        {"last_seen_at": 2**62},
        {"evidence": {}},
        {"schedule": [[[[[[[[[[[[]]]]]]]]]]]]},
        {"remedy": "x"},
        {"build": "15"},
        {"stage": []},
    )
    for fields in spoilt:
        yield json.dumps(row | fields).encode()
    yield json.dumps({name: row[name] for name in ("tenant_id", "server")}).encode()


def _states() -> Iterator[bytes]:
    simulation = Simulation(rulebook())
    simulation.feed(connection())
    simulation.command(pause())
    yield encode_state(simulation.states[ServerKey(TENANT, SERVER)], 5)
    yield encode_tenant(simulation.tenants[TENANT], None)
    yield b"\0"
    yield b"\xff{}"


SEEDS = {
    "avro": _avro,
    "commands": _command_lines,
    "connections": _connection_lines,
    "headers": _headers,
    "http": _http,
    "milter": _milter,
    "policies": _policies,
    "received_text": _received_text,
    "rows": _rows,
    "states": _states,
}


def main() -> None:
    """Write every seed into the corpus."""
    for target, seeds in SEEDS.items():
        folder = CORPUS_DIR / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds()):
            (folder / f"seed-{number:02}").write_bytes(seed)


if __name__ == "__main__":
    main()
