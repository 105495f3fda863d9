"""`tes edge`: the processes beside an MTA, and what they would do with one message."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streams.cli.columns import print_settings
from streams.cli.mail_text import UnreadableError, read_received
from streams.cli.messages import print_error, print_message
from streams.clock import wall_clock_ms
from streams.domain.edge import EdgeVerdict, Trust, trust_in
from streams.domain.exchange.names import canonical_address
from streams.domain.keys import ServerKey
from streams.domain.validation import MalformedError, check_tenant
from streams.edge.client import Client, Connector
from streams.edge.connectors.entries import canonical_fingerprint
from streams.edge.connectors.running import RunningConnectors
from streams.edge.explain import Explanation, explain
from streams.edge.store.verdicts import VerdictReader
from streams.settings.edge import EdgeSettings, read_edge_settings
from streams.visible import visible
from streams.wire.edge_verdict import edge_verdict_of_record
from streams.wire.records import parse_moment

_UNNAMED_CONNECTOR = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.set_defaults(run=_run_both)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    door = actions.add_parser("door", help="answer an MTA; no Kafka client")
    door.set_defaults(run=_run_door)
    sync = actions.add_parser("sync", help="move verdicts and events between disk and Kafka")
    sync.set_defaults(run=_run_sync)
    config = actions.add_parser("config", help="print every setting of the edge, secrets redacted")
    config.add_argument("--json", action="store_true", help="one JSON object on stdout")
    config.set_defaults(run=_print_config)
    decide = actions.add_parser("decide", help="explain what would be done with one message")
    decide.add_argument("--file", default="-", metavar="FILE", help="message, header or Received lines; - is stdin")
    decide.add_argument("--ip", required=True, metavar="ADDRESS", help="address of the client")
    decide.add_argument("--helo", default="", metavar="NAME", help="what the client said in HELO or EHLO")
    decide.add_argument("--tls-subject", metavar="NAME", help="name in the client's trusted certificate")
    decide.add_argument("--tls-fingerprint", metavar="SHA256", help="SHA-256 of this certificate")
    decide.add_argument("--tenant", metavar="TENANT", help="the tenant (default: looked up in the connectors)")
    decide.add_argument("--connector", metavar="ID", help="the connector, with --tenant")
    decide.add_argument("--at", metavar="TIME", help="moment to decide at, ISO 8601 (default: now)")
    decide.add_argument("--verdict", metavar="FILE", help="a verdict as JSON, in place of those on disk")
    decide.add_argument("--json", action="store_true", help="one JSON object on stdout")
    decide.set_defaults(run=_decide)


def _settings() -> EdgeSettings | None:
    try:
        return read_edge_settings()
    except ValueError as error:
        print_error("tes edge", error)
        return None


def _run_both(_: argparse.Namespace) -> int:
    from streams.edge.supervisor import run_both  # each process loads no more than it runs

    settings = _settings()
    return 2 if settings is None else run_both(settings)


def _run_door(_: argparse.Namespace) -> int:
    from streams.edge.door_process import run_door

    settings = _settings()
    return 2 if settings is None else run_door(settings)


def _run_sync(_: argparse.Namespace) -> int:
    from streams.edge.sync_process import run_sync

    settings = _settings()
    return 2 if settings is None else run_sync(settings)


def _print_config(arguments: argparse.Namespace) -> int:
    settings = _settings()
    if settings is None:
        return 2
    print_settings(settings, as_json=arguments.json)
    return 0


def _decide(arguments: argparse.Namespace) -> int:
    try:
        explanation = _explanation(arguments, read_edge_settings())
    except UnreadableError as error:
        print_message(f"tes edge decide: {arguments.file}: {error}")
        return 2
    except (ValueError, OSError) as error:
        print_error("tes edge decide", error)
        return 2
    if explanation is None:
        print_message("tes edge decide: the client comes through no connector: accepted, and no event")
        return 1
    shown = explanation.shown()
    if arguments.json:
        print(json.dumps(shown))
    else:
        _print_facts(shown)
    return 0


def _explanation(arguments: argparse.Namespace, settings: EdgeSettings) -> Explanation | None:
    """What the door would do; None for a client of no connector."""
    now = wall_clock_ms()
    moment = parse_moment("--at", arguments.at) if arguments.at else now
    client = _client(arguments)
    raw = sys.stdin.buffer.read() if arguments.file == "-" else Path(arguments.file).read_bytes()
    received = read_received(raw).values
    given = None if arguments.verdict is None else _read_verdict(Path(arguments.verdict))
    if given is not None:
        return _explained_by(given, client, received, moment)
    reader = VerdictReader(settings.folder)
    reader.open()
    try:
        connector = client.connector or _configured_connector(client, settings, reader)
        if connector is None:
            return None
        trust = trust_in(reader.knowledge, now, settings.limits)
        return explain(connector, client, received, reader.find, trust, moment)
    finally:
        reader.close()


def _explained_by(verdict: EdgeVerdict, client: Client, received: Sequence[str], moment: int) -> Explanation:
    connector = client.connector or Connector(verdict.tenant_id, _UNNAMED_CONNECTOR)
    explanation = explain(connector, client, received, {verdict.key: verdict}.get, Trust.CURRENT, moment)
    if explanation.verdict is None:
        about = f"{verdict.tenant_id}/{verdict.server}"
        print_message(f"tes edge decide: --verdict: is about {about}, and the message is not")
    return explanation


def _client(arguments: argparse.Namespace) -> Client:
    address = canonical_address(arguments.ip)
    if address is None:
        raise MalformedError(f"--ip: {arguments.ip!r}: must be an IPv4 or IPv6 address")
    fingerprint = arguments.tls_fingerprint
    try:
        fingerprint = None if fingerprint is None else canonical_fingerprint(fingerprint)
    except ValueError as error:
        raise MalformedError(f"--tls-fingerprint: {fingerprint!r}: {error}") from None
    connector = None
    if arguments.tenant is not None:
        check_tenant(arguments.tenant)
        connector = Connector(arguments.tenant, arguments.connector or _UNNAMED_CONNECTOR)
    elif arguments.connector is not None:
        raise MalformedError(f"--connector: {arguments.connector!r}: must go with --tenant")
    return Client(address, arguments.helo, arguments.tls_subject, fingerprint, connector)


def _configured_connector(client: Client, settings: EdgeSettings, reader: VerdictReader) -> Connector | None:
    running = RunningConnectors(Path(settings.connectors) if settings.connectors else None, reader, lambda: None)
    running.start()
    return running.find(client)


def _read_verdict(path: Path) -> EdgeVerdict:
    """The verdict in a file, in the JSON form of its topic.

    Raises:
        ValueError: it is none; the message names the file, and what is wrong.
    """
    try:
        record = json.loads(path.read_bytes())
        if not isinstance(record, dict):
            raise MalformedError("must be a JSON object")
        record = {**_OPTIONAL, **record, "paused_until": _moment(record.get("paused_until"), "paused_until")}
        record["schedule"] = [
            {**item, "starts_at": _moment(item["starts_at"], "schedule.starts_at")} for item in record["schedule"]
        ]
        return edge_verdict_of_record(record, ServerKey(record["tenant_id"], record["server"]).topic_key())
    except OSError as error:
        raise ValueError(f"--verdict: {path}: {error.strerror}") from None
    except KeyError as error:
        raise ValueError(f"--verdict: {path}: {error.args[0]}: is missing") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"--verdict: {path}: {error}") from None


_OPTIONAL: dict[str, Any] = {
    "required_build": None,
    "smtp_template_throttle": None,
    "smtp_template_block": None,
    "is_mixed": False,
}


def _moment(value: Any, name: str) -> int | None:
    return value if value is None or isinstance(value, int) else parse_moment(name, value)


def _print_facts(shown: dict[str, Any]) -> None:
    verdict = shown.pop("verdict")
    rows = dict(shown)
    if verdict is not None:
        rows |= {f"verdict {name}": value for name, value in verdict.items()}
    for name in ("trust", "action", "cause", "because", "reply"):  # what was decided comes last
        rows[name] = rows.pop(name)
    for name, value in rows.items():
        print(f"{name.replace('_', ' '):36} {'-' if value is None else visible(str(value))}")
