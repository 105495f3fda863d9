"""`tes servers`: the report's rows, from a running system or from a file."""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import sys
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError

from streams.cli.columns import print_columns
from streams.cli.forms import add_forms, print_json
from streams.cli.messages import print_error, print_message
from streams.cli.results import print_results
from streams.domain.exchange.names import canonical_server
from streams.domain.outputs.server_report import ServerStatus
from streams.kafka.follower import KafkaLog
from streams.kafka.security import cluster_of
from streams.kafka.table import read_table
from streams.kafka.topics import TOPICS, TopicError
from streams.settings.worker import Settings, read_settings
from streams.visible import csv_cell, visible
from streams.wire.codec import AvroCodec
from streams.wire.records import to_json
from streams.wire.registry import registry_of
from streams.wire.server_report import named, rows_of_file, sort_rows

_SHORT = (
    *("Tenant", "Server", "Identity", "Build", "Status", "Stage", "FirstDetectedDate"),
    *("ThrottleEnabledDate", "BlockingEnabledDate", "NextStageStartDate", "LastSeen"),
)
_RESULTS = "result folder of `tes simulate` or `tes replay`, with what its verdicts do now"
_LIMIT: dict[str, Any] = {"type": int, "default": 0, "metavar": "N", "help": "only the first N servers (default: all)"}


def add_source(parser: argparse.ArgumentParser) -> None:
    """The options that say where rows come from."""
    parser.add_argument("--servers", metavar="FILE", help="read a servers.jsonl instead of the running system's topic")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="one row per server")
    listing.add_argument("--tenant", help="only this tenant")
    listing.add_argument("--status", choices=[status.value for status in ServerStatus], help="only this status")
    form = add_forms(listing, "one JSON array on stdout, all columns")
    form.add_argument("--csv", action="store_true", help="CSV on stdout, all columns")
    listing.add_argument("--results", type=Path, metavar="DIR", help=_RESULTS)
    listing.add_argument("--limit", **_LIMIT)
    listing.set_defaults(run=_list)
    show = actions.add_parser("show", help="everything about one server: evidence, schedule, policy")
    show.add_argument("server", help="server name as shown by `tes servers list`")
    show.add_argument("--tenant", help="required if several tenants have a server of this name")
    show.add_argument("--json", action="store_true", help="one JSON object on stdout")
    show.set_defaults(run=_show)
    for action in (listing, show):
        add_source(action)


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of `tes table`, the old name of `tes servers list --results`."""
    parser.add_argument("results", type=Path, metavar="DIR", help=_RESULTS)
    parser.add_argument("--tenant", help="only this tenant")
    parser.add_argument("--limit", **_LIMIT)
    parser.set_defaults(run=_list, action="list", servers=None, status=None, json=False, jsonl=False, csv=False)


def read_rows(file: str | None, settings: Settings) -> list[dict[str, Any]]:
    """The Avro-shaped rows of a file, or of the running system.

    Raises:
        OSError: the file cannot be read.
        MalformedError: it holds something else.
        KafkaError: the cluster did not answer.
        TopicError: the topic does not exist.
    """
    if file is not None:
        return list(rows_of_file(Path(file).read_bytes().splitlines()))
    codec = AvroCodec("server_report", registry_of(settings))
    log = KafkaLog(cluster_of(settings), [settings.topic(TOPICS["server_report"])])
    return sort_rows(asyncio.run(read_table(log, codec.decode)))


def _read(arguments: argparse.Namespace) -> list[dict[str, Any]] | int:
    try:
        rows = read_rows(arguments.servers, read_settings())
    except (ValueError, OSError, KafkaError, TopicError) as error:
        print_error(f"tes servers {arguments.action}", error)
        return 1 if isinstance(error, (KafkaError, TopicError)) else 2
    return [row for row in rows if arguments.tenant in (None, row["tenant_id"])]


def _list(arguments: argparse.Namespace) -> int:
    if arguments.results is not None:
        return _list_results(arguments)
    rows = _read(arguments)
    if isinstance(rows, int):
        return rows
    shown = [named(row) for row in rows if arguments.status in (None, row["status"])]
    shown = shown[: arguments.limit or None]
    if print_json(arguments, shown):
        return 0
    if arguments.csv:
        print_csv([{name: _csv_value(value) for name, value in row.items()} for row in shown])
    else:
        print_columns([_SHORT, *([_cell(row[name])[:44] or "-" for name in _SHORT] for row in shown)])
    return 0


def _list_results(arguments: argparse.Namespace) -> int:
    try:
        for name in ("servers", "json", "jsonl", "csv"):
            if getattr(arguments, name):
                raise ValueError(f"--{name}: not with --results; --servers DIR/servers.jsonl has all columns")
        print_results(arguments.results, arguments.tenant, arguments.status, arguments.limit)
    except (OSError, ValueError) as error:
        print_error("tes servers list", error)
        return 2
    return 0


def print_csv(rows: list[dict[str, Any]]) -> None:
    """Rows as CSV on stdout, the heading first; nothing for none."""
    if rows:
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: csv_cell(value) for name, value in row.items()} for row in rows)


def _csv_value(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float) else _joined(value)


def _joined(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return "; ".join(f"{name}={item}" for name, item in value.items() if item is not None)
    return str(value)


def _cell(value: Any) -> str:
    return "" if value is None else visible(_joined(value))


def _show(arguments: argparse.Namespace) -> int:
    rows = _read(arguments)
    if isinstance(rows, int):
        return rows
    server = canonical_server(arguments.server)
    found = [row for row in rows if row["server"] in (server, arguments.server)]
    if len(found) != 1:
        tenants = ", ".join(row["tenant_id"] for row in found)
        said = f"several tenants have it: {visible(tenants)} (give --tenant)" if found else "is unknown"
        print_message(f"tes servers show: server: {arguments.server!r}: {said}")
        return 2
    row = named(found[0]) | {"Schedule": _schedule(found[0])}
    if arguments.json:
        print(json.dumps(row))
        return 0
    for name, value in row.items():
        lines = value if name == "Schedule" else [value]
        cells = [_cell(line) if name != "Evidence" else line for line in lines] or ["-"]
        for place, cell in enumerate(cells):
            if isinstance(cell, dict):
                for number, (key, item) in enumerate(cell.items()):
                    print(f"{name if not number else '':26} {key}: {'-' if item is None else visible(str(item))}")
            else:
                print(f"{name if not place else '':26} {cell or '-'}")
    return 0


def _schedule(row: dict[str, Any]) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = to_json(row["schedule"])
    return shown
