"""`tes table`: the servers of a result folder as a table that a person reads."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import orjson

from streams.cli.columns import print_columns
from streams.cli.messages import print_error

_COLUMNS = ("TENANT", "SERVER", "BUILD", "FINDING", "STAGE", "STATUS", "CURRENT ACTION", "NEXT DATE")


def add_parser(commands: Any) -> None:
    """Add the command to `tes`."""
    parser = commands.add_parser("table", help="show the servers of a result folder")
    parser.add_argument("dir", type=Path, metavar="DIR", help="result folder of `tes simulate` or `tes replay`")
    parser.add_argument("--tenant", help="only this tenant")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="only the first N servers (default: all)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the table; exit code 2 when the folder cannot be read."""
    try:
        servers = [orjson.loads(line) for line in (arguments.dir / "servers.jsonl").read_bytes().splitlines()]
        verdicts = [orjson.loads(line) for line in (arguments.dir / "verdicts.jsonl").read_bytes().splitlines()]
    except (OSError, orjson.JSONDecodeError) as error:
        print_error("tes table", error)
        return 2
    latest = {(row["tenant_id"], row["server"]): row for row in verdicts}
    chosen = [row for row in servers if arguments.tenant in (None, row["tenant_id"])]
    shown = chosen[: arguments.limit or None]
    print_columns([_COLUMNS, *(_row(row, latest.get((row["tenant_id"], row["server"]))) for row in shown)])
    if len(shown) < len(chosen):
        print(f"... and {len(chosen) - len(shown)} more")
    return 0


def _row(server: dict[str, Any], verdict: dict[str, Any] | None) -> tuple[str, ...]:
    return (
        server["tenant_id"],
        server["server"][:44],
        server["build"] or "-",
        server["finding"],
        str(server["stage"]) if server["stage"] else "-",
        server["status"],
        _edge(verdict),
        (server["next_stage_start_date"] or "-")[:16],
    )


def _edge(verdict: dict[str, Any] | None) -> str:
    if verdict is None:
        return "accepts"
    throttle, block = verdict["throttle_minutes_per_hour"], verdict["block_minutes_per_hour"]
    said = [f"throttles {throttle} min/h" if throttle else "", f"blocks {block} min/h" if block else ""]
    return ", ".join(part for part in said if part) or "accepts"
