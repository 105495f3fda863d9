"""`tes state`: the state of a server with its history, and all states for another program."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from aiokafka.errors import KafkaError

from streams.cli.forms import add_forms
from streams.cli.messages import print_error, print_message
from streams.cli.terminal import write_bytes
from streams.domain.exchange.names import canonical_server
from streams.domain.keys import ServerKey
from streams.domain.validation import check_tenant
from streams.errors import DependencyError
from streams.kafka.topics import TopicError
from streams.operations.states import ServerHistory, export, load_history
from streams.settings.worker import Settings, read_settings
from streams.visible import visible, visible_json
from streams.wire.registry import registry_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    get = actions.add_parser("get", help="the state of one server, and every decision about it, in order")
    get.add_argument("tenant")
    get.add_argument("server", help="server name as shown by `tes servers list`")
    get.add_argument("--json", action="store_true", help="one JSON object on stdout")
    get.set_defaults(run=lambda arguments: _run(arguments, _get))
    everything = actions.add_parser("export", help="every state, by partition: as one JSON object per line by default")
    add_forms(everything)
    everything.set_defaults(run=lambda arguments: _run(arguments, _export))


def _run(
    arguments: argparse.Namespace, action: Callable[[argparse.Namespace, Settings], Coroutine[Any, Any, int]]
) -> int:
    """Exit code 0 done, 1 Kafka failed or a state of unknown format, 2 wrong usage or an unknown server."""
    try:
        return asyncio.run(action(arguments, read_settings()))
    except (ValueError, KafkaError, TopicError, DependencyError, OSError) as error:
        print_error(f"tes state {arguments.action}", error)
        return 2 if isinstance(error, ValueError) else 1


async def _export(arguments: argparse.Namespace, settings: Settings) -> int:
    before, after = (b"[", b"") if arguments.json else (b"", b"\n")
    async for row in export(settings):
        write_bytes(before + visible_json(row) + after)
        before = b",\n " if arguments.json else b""
    if arguments.json:
        write_bytes(b"[]\n" if before == b"[" else b"]\n")
    return 0


async def _get(arguments: argparse.Namespace, settings: Settings) -> int:
    key = ServerKey(arguments.tenant, canonical_server(arguments.server))
    check_tenant(key.tenant_id)
    found = await load_history(settings, registry_of(settings), key)
    if not found.is_known:
        print_message(f"tes state get: server: {key.server!r} of {key.tenant_id}: is unknown")
        return 2
    if arguments.json:
        names = ("partition", "markers", "server", "tenant", "forgotten", "history")
        print(json.dumps({name: getattr(found, name) for name in names}))
    else:
        _print(found)
    return 0


def _print(found: ServerHistory) -> None:
    about = {"partition": found.partition, **found.markers}
    if found.forgotten is not None:
        about["forgotten_at_revision"] = found.forgotten["revision"]
    _print_facts("state", about | _facts(found.server))
    if found.tenant is not None:
        _print_facts("tenant", _facts(found.tenant))
    print("history")
    for row in found.history:
        print(f"  {row['at']}  {row['kind']:12}  {_said(row)}")


def _facts(row: dict[str, Any] | None) -> dict[str, Any]:
    if row is None:
        return {}
    hidden = ("recent_events", "seen_commands")
    return {"due_at": row["due_at"]} | {name: item for name, item in row["state"].items() if name not in hidden}


def _print_facts(title: str, facts: dict[str, Any]) -> None:
    for number, (name, item) in enumerate(facts.items()):
        shown = json.dumps(item, ensure_ascii=False) if isinstance(item, dict | list) else str(item)
        print(f"{'' if number else title:8}  {visible(name):22}  {'-' if item is None else visible(shown)}")


def _said(row: dict[str, Any]) -> str:
    record = row["record"]
    if row["kind"] == "VERDICT":
        rates = f"throttle {record['throttle_minutes_per_hour']}, block {record['block_minutes_per_hour']} min/h"
        said = f"{record['revision']}: {record['action']} stage {record['stage']}, {rates}: {record['reason']}"
    elif row["kind"] == "NOTIFICATION":
        said = f"{record['kind']}: {record['title']}"
    else:
        why = f": {record['reason']}" if record["reason"] else ""
        whom = "" if row["server"] else " (of the tenant)"
        said = f"{record['kind']} {record['outcome']} by {record['issued_by']}{whom}{why}"
    return visible(said)
