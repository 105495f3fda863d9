"""`tes inspect`: which server and build a message came from, what a policy says of it, and the update that fixes it."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streams.cli.mail_text import UnreadableError, read_received
from streams.cli.messages import print_error
from streams.clock import wall_clock_ms
from streams.domain.exchange.build import Product
from streams.domain.exchange.detection import UNNAMED, Detection, detect, product_of
from streams.domain.policy.content import PolicyError
from streams.domain.policy.policy import ConnectorType
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.server.sighting import build_name, judgement_of
from streams.domain.validation import MalformedError
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.settings.worker import DEFAULT_POLICY
from streams.visible import visible
from streams.wire.records import parse_day_or_moment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.add_argument(
        "file",
        nargs="?",
        default="-",
        help="message (.eml, .msg), header, Received lines, or a JSON header list; - is stdin",
    )
    parser.add_argument("--policy", default=DEFAULT_POLICY, help="shipped policy or YAML file (default: %(default)s)")
    parser.add_argument("--at", help="judge as of this date or time, UTC (default: now)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Inspect one message; exit code 2 for input that cannot be read."""
    source = arguments.file
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        policy = read_policy(arguments.policy)
        at = parse_day_or_moment("--at", arguments.at) if arguments.at else wall_clock_ms()
    except (OSError, PolicyError, MalformedError) as error:
        print_error("tes inspect", error)
        return 2
    try:
        found = read_received(raw)
    except UnreadableError as error:
        print_error(f"tes inspect: {'standard input' if source == '-' else source}", error)
        return 2
    try:
        row = {"read": found.read} | inspect(found.values, Rulebook((policy,), shipped_catalogue()), at)
    except MalformedError as error:
        print_error("tes inspect", error)
        return 2
    if arguments.json:
        print(json.dumps(row))
        return 0
    print("\n".join(_shown(row)))
    return 0


def _shown(row: dict[str, Any]) -> Iterator[str]:
    """The row for people: one field a line, the header line unfolded, long lists wrapped."""
    for key, value in row.items():
        if isinstance(value, dict):
            shown = [f"{name}: {_plain(item)}" for name, item in value.items()]
        elif isinstance(value, list):
            shown = textwrap.wrap(", ".join(value), 100, break_on_hyphens=False)
        else:
            shown = [_plain(value)]
        for place, line in enumerate(shown or ["-"]):
            yield f"{'' if place else key:15} {line}"


def _plain(value: Any) -> str:
    return "-" if value is None else visible(str(value))


def inspect(lines: list[str], rulebook: Rulebook, at: int) -> dict[str, Any]:
    """The findings as one JSON-shaped row; `at` in UTC milliseconds, the connector taken as ON_PREMISES."""
    catalogue = rulebook.catalogue
    found = detect(lines, helo="", source_ip="")
    connector = ConnectorType.ON_PREMISES
    event = InboundConnection("inspect", at, "inspect", "", connector, "", "", tuple(lines))
    judged = judgement_of(event, found, rulebook)
    is_named = found.server != UNNAMED
    is_own = product_of(found.server, found.build) is not Product.EXCHANGE_ONLINE
    return {
        "server": found.server if is_named else None,
        "identity": found.identity.value if is_named else None,
        **_of_build(found, rulebook),
        "finding": judged.finding.value,
        "would_be": judged.would_be.value if judged.would_be else None,
        "reason": judged.reason,
        "required_build": str(judged.required_build) if judged.required_build else None,
        "remedy": judged.remedy._asdict() if judged.remedy else None,
        "cves": list(catalogue.missing_cves(found.build)) if is_own and found.build else [],
        **_support(found, rulebook),
        "policy": rulebook.policies[0].policy_id,
        "evidence": {"received": found.received, "position": found.position, "protocol": found.protocol},
    }


def _of_build(found: Detection, rulebook: Rulebook) -> dict[str, Any]:
    if found.build is None:
        return {"product": None, "build": None, "build_name": None}
    product = product_of(found.server, found.build)
    return {
        "product": product.value if product else None,
        # The stamped number as such; `build_name` says what it stands for. Three parts name a CU and no build.
        "build": str(found.build) if found.build.update is not None else None,
        "build_name": build_name(rulebook.catalogue, found.server, found.build),
    }


def _support(found: Detection, rulebook: Rulebook) -> dict[str, Any]:
    product = product_of(found.server, found.build)
    ends = rulebook.catalogue.support_ends_on(product) if product else None
    esu = rulebook.catalogue.esu_ends_on(product) if product else None
    return {
        "support_ends_on": ends.isoformat() if ends else None,
        "esu_ends_on": esu.isoformat() if esu else None,
    }
