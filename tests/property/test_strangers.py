"""What others wrote into a message changes nothing about a server: not what is decided, told, shown or remembered."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.domain.policy.policy import ConnectorType
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.domain.time import DAY_MS, HOUR_MS
from streams.engine.partition.view import StateView
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.service.simulation import Simulation
from streams.settings.worker import Settings
from streams.state.server_row import encode_state
from streams.testing import FakeRecord, MemoryStore
from streams.wire.codec import AvroCodec
from streams.wire.fast_headers import fast_headers
from streams.wire.records import to_json_line, to_record
from streams.wire.registry import LocalRegistry
from streams.worker.processor import InputProcessor
from streams.worker.wiring import record_channels

START = 1_788_220_800_000
"""2026-09-01, UTC milliseconds."""
RULEBOOK = Rulebook((read_policy("microsoft-2026-09"),), shipped_catalogue())
WIRES, CODEC, HEADER = (
    record_channels(Settings()),
    AvroCodec("inbound_connection", LocalRegistry()),
    fast_headers(LocalRegistry()),
)
DATE = "Tue, 1 Sep 2026 00:00:00 +0000"
HOST = "ex01.contoso.com"
BUILDS = ("15.1.2507.61", "15.1.2507.39", "15.1.2106.2", "15.1.2106.13", "15.2.221.12", "15.2.2562.29")
FORGED = (*BUILDS, "15.1.2507.9999", "15.1.2508.1", "15.20.1.1", "99.99.9999.9")


def stamp(name: str, shown: str, build: str, protocol: str = "Microsoft SMTP Server", host: str = HOST) -> str:
    """A line as the host writes it."""
    return f"from {name} ({shown}) by {host} (10.0.0.5) with {protocol} id {build}; {DATE}"


OWN = st.builds(
    stamp, st.just(HOST.upper()), st.sampled_from(("10.0.0.5", "::1", "fe80::1%7")), st.sampled_from(BUILDS)
)
ENTRY = st.one_of(
    st.builds(
        stamp,
        st.sampled_from(("mx.partner.example", "by", "with", "[6.6.6.6]")),
        st.just("6.6.6.6"),
        st.sampled_from(BUILDS),
    ),
    st.builds(
        stamp, st.just(HOST), st.sampled_from(("6.6.6.6", "2001:db8::6", "10.0.0.5) (6.6.6.6")), st.sampled_from(BUILDS)
    ),
    st.just(f"from localhost by Pickup with Microsoft SMTP Server id 15.1.2507.6; {DATE}"),
    st.just(f"from x (6.6.6.6) by gw.contoso.com (Postfix) with ESMTPS id 4ABC; {DATE}"),
)
"""A line of another sender: the run ends with it."""
RUNS = st.lists(OWN, max_size=2).flatmap(lambda own: ENTRY.map(lambda entry: (*own, entry)))
STRANGE = st.lists(
    st.builds(
        stamp,
        st.sampled_from((HOST, "localhost", "evil.example", "by")),
        st.sampled_from(("10.0.0.5", "::1", "6.6.6.6")),
        st.sampled_from(FORGED),
        st.sampled_from(("Microsoft SMTP Server", "mapi", "ShadowRedundancy", "Microsoft SMTPSVC(6.0)")),
        st.sampled_from((HOST, HOST.upper(), "ex02.contoso.com", "[10.0.0.5]")),
    )
    | st.text(max_size=60),
    max_size=4,
).map(tuple)
MAILS = st.lists(
    st.tuples(st.integers(1, 100 * DAY_MS) | st.integers(1, HOUR_MS), RUNS, STRANGE), min_size=1, max_size=8
)
Mails = list[tuple[int, tuple[str, ...], tuple[str, ...]]]


def connections(mails: Mails, with_strangers: bool) -> list[InboundConnection]:
    """The mails of one server, each later than the one before."""
    at, made = START, []
    for number, (later, run, strange) in enumerate(mails):
        at += later
        lines = (*run, *strange) if with_strangers else run
        kind, address = ConnectorType.ON_PREMISES, "198.51.100.7"
        made.append(InboundConnection(f"e{number}", at, "contoso", "c", kind, address, HOST, lines))
    return made


def override(server: str, at: int) -> AdminCommand:
    """An operator says what the server really runs."""
    kind, until = CommandKind.OVERRIDE_BUILD, at + 30 * DAY_MS
    given = AdminCommand(server, "contoso", at, "o", Role.OPERATOR, kind, server=server)
    return replace(given, build="15.1.2106.13", reason="r", expires_at=until)


def outputs(mails: Mails, with_strangers: bool) -> list[bytes]:
    """All that is written and remembered, an operator's override in force from the second mail on."""
    simulation = Simulation(RULEBOOK)
    for number, connection in enumerate(connections(mails, with_strangers)):
        simulation.feed(connection)
        if number == 1:
            for server in (HOST, f"helo:{HOST}"):
                simulation.command(override(server, connection.observed_at))
    simulation.advance(simulation.stream_time + 120 * DAY_MS)
    results = simulation.results
    rows = [*results.verdicts, *results.notifications, *results.audit, *results.servers.values()]
    states = [encode_state(state, None) for _, state in sorted(simulation.states.items())]
    return [*(to_json_line(to_record(row)) for row in rows), *states]


@settings(max_examples=150, deadline=None)
@given(MAILS)
def test_lines_below_the_run_change_no_output(mails: Mails) -> None:
    assert outputs(mails, with_strangers=True) == outputs(mails, with_strangers=False)


def worked_off(mails: Mails, with_strangers: bool) -> tuple[dict[bytes, bytes | None], list[tuple[str, bytes | None]]]:
    """The state and the outputs of a worker, which only counts most mails."""
    events = connections(mails, with_strangers)
    store = MemoryStore()
    processor = InputProcessor(lambda: RULEBOOK, WIRES, HEADER, replay_until=events[-1].observed_at)
    emitted: list[tuple[str, bytes | None]] = []
    for event in (None, *events):
        view = StateView(store)
        processor.begin(view)
        if event is None:
            while processor.on_tick(view, START, 50):
                pass
        else:
            value = CODEC.encode(to_record(event))
            assert processor.on_records(view, [FakeRecord(WIRES.connections_topic, 0, 0, b"contoso", value)], None) == 1
        processor.finish(view)
        emitted += [(output.topic, output.value) for output in view.outputs]
        store.write(view.changes)
    return dict(store.scan(b"", b"\xff")), emitted


@settings(max_examples=60, deadline=None)
@given(MAILS)
def test_lines_below_the_run_change_nothing_in_a_worker(mails: Mails) -> None:
    assert worked_off(mails, with_strangers=True) == worked_off(mails, with_strangers=False)
