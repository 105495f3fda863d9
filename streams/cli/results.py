"""The servers of a result folder, as `tes simulate` and `tes replay` write it, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from streams.cli.columns import print_columns

_COLUMNS = ("TENANT", "SERVER", "BUILD", "FINDING", "STAGE", "STATUS", "CURRENT ACTION", "NEXT DATE")


def print_results(folder: Path, tenant: str | None, status: str | None, limit: int) -> None:
    """Print a table of the servers, of a tenant or with a status only; `limit` 0 is all of them.

    Raises:
        OSError: the folder cannot be read.
        ValueError: its files hold something else.
    """
    servers = [orjson.loads(line) for line in (folder / "servers.jsonl").read_bytes().splitlines()]
    verdicts = [orjson.loads(line) for line in (folder / "verdicts.jsonl").read_bytes().splitlines()]
    latest = {(row["tenant_id"], row["server"]): row for row in verdicts}
    chosen = [row for row in servers if tenant in (None, row["tenant_id"]) and status in (None, row["status"])]
    shown = chosen[: limit or None]
    print_columns([_COLUMNS, *(_row(row, latest.get((row["tenant_id"], row["server"]))) for row in shown)])
    if len(shown) < len(chosen):
        print(f"... and {len(chosen) - len(shown)} more")


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
