"""`tes inspect`: which server and build a message came from, what a policy says of it, and what cures it."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from streams.adapters.catalogue_files import shipped_catalogue
from streams.adapters.policy_files import DEFAULT_POLICY, PolicyError, read_policy
from streams.adapters.records import parse_day_or_moment
from streams.domain.connection import InboundConnection, MalformedError
from streams.domain.enforcement import judgement_of
from streams.domain.headers import detect
from streams.domain.policy import ConnectorType
from streams.domain.rules import Rulebook


def add_parser(commands: Any) -> None:
    """Add the command to `tes`."""
    parser = commands.add_parser("inspect", help="say which Exchange server and build a message came from")
    parser.add_argument("file", nargs="?", default="-", help="message, header or Received lines; - is stdin")
    parser.add_argument("--policy", default=DEFAULT_POLICY, help="shipped policy or YAML file (%(default)s)")
    parser.add_argument("--at", help="judge as of this day or moment, UTC (now)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=run)


def received_lines(text: str) -> list[str]:
    """The `Received` values of a message, of its header alone, or of bare `Received:` lines."""
    return HeaderParser().parsestr(text.lstrip(), headersonly=True).get_all("Received") or []


def run(arguments: argparse.Namespace) -> int:
    """Inspect one message; exit code 2 for input that cannot be read."""
    source = arguments.file
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        policy = read_policy(arguments.policy)
        at = parse_day_or_moment("--at", arguments.at) if arguments.at else _now()
    except (OSError, PolicyError, MalformedError) as error:
        print(f"tes inspect: {error}", file=sys.stderr)
        return 2
    lines = received_lines(raw.decode("utf-8", "replace"))
    if not lines:
        print(f"tes inspect: {source}: no Received line found", file=sys.stderr)
        return 2
    row = inspect(lines, Rulebook((policy,), shipped_catalogue()), at)
    if arguments.json:
        print(json.dumps(row, ensure_ascii=False))
        return 0
    for key, value in row.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        if isinstance(value, dict):
            shown = "\n".join(f"{'' if not place else ' ' * 15}{k}: {v}" for place, (k, v) in enumerate(value.items()))
        print(f"{key:14} {'-' if shown in (None, '') else shown}")
    return 0


def _now() -> int:
    return round(datetime.now(UTC).timestamp() * 1000)


def inspect(lines: list[str], rulebook: Rulebook, at: int) -> dict[str, Any]:
    """The findings as one JSON-shaped row; `at` in UTC milliseconds, the connector taken as ON_PREMISES."""
    catalogue = rulebook.catalogue
    found = detect(lines, helo="", source_ip="unknown")
    connector = ConnectorType.ON_PREMISES
    event = InboundConnection("inspect", at, "inspect", "", connector, "unknown", "", tuple(lines))
    judged = judgement_of(event, found, rulebook)
    build = catalogue.canonical(found.build) if found.build else None
    product = build.product if build else None
    ends = catalogue.support_ends_on(product) if product else None
    return {
        "server": found.server,
        "identity": found.identity.value,
        "product": product.value if product else None,
        "build": str(build) if build else None,
        "build_name": catalogue.name(build) if build else None,
        "finding": judged.finding.value,
        "would_be": judged.would_be.value if judged.would_be else None,
        "reason": judged.reason,
        "required_build": str(judged.required_build) if judged.required_build else None,
        "remedy": judged.remedy._asdict() if judged.remedy else None,
        "cves": sorted({fix.cve for fix in catalogue.missing_fixes(build)}) if build else [],
        "support_ends_on": ends.isoformat() if ends else None,
        "evidence": {"received": found.received, "position": found.position, "protocol": found.protocol},
    }
