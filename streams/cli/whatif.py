"""`tes whatif`: which servers would change under another policy or catalogue; changes nothing."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from aiokafka.errors import KafkaError

from streams.cli.catalogue import find_catalogue
from streams.cli.columns import print_columns
from streams.cli.messages import print_error
from streams.cli.policy import find_policy, published_rules
from streams.cli.servers import add_source, print_csv, read_rows
from streams.domain.exchange.tables import catalogue_of
from streams.domain.policy.rulebook import Rulebook, effective_policies
from streams.domain.time import iso
from streams.domain.whatif import Prediction, predict, with_catalogue, with_policy
from streams.kafka.topics import TopicError
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.configured import configured_policies
from streams.policies.files import read_policy
from streams.policies.topic import Published
from streams.settings.worker import read_settings
from streams.visible import visible
from streams.wire.policy import from_millis, to_millis
from streams.wire.records import parse_day_or_moment
from streams.wire.server_report import report_of_record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.add_argument("--policy", metavar="NAME|FILE", help="policy to evaluate")
    parser.add_argument("--catalogue", metavar="FOLDER", help="catalogue to evaluate: a folder or a published version")
    add_source(parser)
    parser.add_argument("--kafka", action="store_true", help="rows of the running system (default without --servers)")
    parser.add_argument(
        "--current",
        action="append",
        metavar="NAME|FILE",
        help="current policy; repeatable (default: the settings' policies)",
    )
    parser.add_argument(
        "--at", metavar="DATE", help="when it would take effect (default: the policy's effective_at, or the newest row)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object on stdout")
    form.add_argument("--csv", action="store_true", help="the changes as CSV on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what would change; exit code 0 whatever it is, 1 when Kafka fails, 2 for input that cannot be read."""
    try:
        if arguments.kafka and arguments.servers:
            raise ValueError("--kafka, --servers: mutually exclusive: give only one")
        if not (arguments.policy or arguments.catalogue):
            raise ValueError("--policy, --catalogue: neither given: at least one is required")
        settings = read_settings()
        other = find_policy(arguments.policy, settings) if arguments.policy else None
        tables = find_catalogue(arguments.catalogue, settings).tables if arguments.catalogue else None
        configured = list(map(read_policy, arguments.current)) if arguments.current else configured_policies(settings)
        published = Published() if arguments.servers else published_rules(settings)
        reports = [report_of_record(row) for row in read_rows(arguments.servers, settings)]
        newest = max((report.reported_at for report in reports), default=0)
        at = max(to_millis(other.effective_at) if other else 0, newest)
        if arguments.at:
            at = parse_day_or_moment("--at", arguments.at)
            if at < newest:
                raise ValueError(f"--at: {arguments.at}: must not be before the newest row ({iso(newest)})")
        policies, catalogues, begins = (
            effective_policies(configured, published.policies),
            published.catalogues,
            from_millis(at),
        )
        current = Rulebook(policies, shipped_catalogue(), catalogues=catalogues)
        policies = with_policy(policies, other, begins) if other else policies
        catalogues = with_catalogue(catalogues, catalogue_of(tables), begins) if tables else catalogues
        changed = Rulebook(policies, shipped_catalogue(), catalogues=catalogues)
    except (ValueError, OSError, KafkaError, TopicError) as error:
        print_error("tes whatif", error)
        return 1 if isinstance(error, (KafkaError, TopicError)) else 2
    predictions = [predict(report, current, changed, at) for report in reports]
    names = {"policy": f"{other.policy_id}/{other.version}" if other else None, "catalogue": arguments.catalogue}
    _print(arguments, names, at, predictions)
    return 0


def _row(prediction: Prediction) -> dict[str, Any]:
    return {
        "tenant_id": prediction.tenant_id,
        "server": prediction.server,
        "build": str(prediction.build) if prediction.build else None,
        **{f"{name}_before": value for name, value in prediction.before._asdict().items()},
        **{f"{name}_after": value for name, value in prediction.after._asdict().items()},
        "reason": prediction.reason,
    }


def _totals(predictions: Iterable[Prediction]) -> dict[str, int]:
    totals = Counter[str]()
    for prediction in predictions:
        before, after = prediction.before, prediction.after
        totals["servers"] += 1
        totals["changed"] += prediction.is_change
        totals["newly_enforced"] += before.stage == 0 < after.stage
        totals["released"] += after.stage == 0 < before.stage
    return {name: totals[name] for name in ("servers", "changed", "newly_enforced", "released")}


def _print(
    arguments: argparse.Namespace, others: dict[str, str | None], at: int, predictions: list[Prediction]
) -> None:
    rows = [_row(prediction) for prediction in predictions if prediction.is_change]
    names = sorted({prediction.tenant_id for prediction in predictions})
    tenants = {name: _totals(item for item in predictions if item.tenant_id == name) for name in names}
    totals = _totals(predictions)
    if arguments.json:
        print(json.dumps({**others, "at": iso(at), "changes": rows, "tenants": tenants, "totals": totals}))
        return
    if arguments.csv:
        print_csv(rows)
        return
    heading = ("TENANT", "SERVER", "BUILD", "FINDING", "STAGE", "ACTION")
    pairs = [
        (
            row["tenant_id"],
            row["server"][:44],
            row["build"] or "-",
            *(f"{row[f'{name}_before']} -> {row[f'{name}_after']}" for name in ("finding", "stage", "action")),
        )
        for row in rows
    ]
    print_columns([heading, *pairs])
    print()
    heading = ("TENANT", "SERVERS", "CHANGED", "NEWLY ENFORCED", "RELEASED", "")
    every = [(name, *map(str, found.values()), "") for name, found in tenants.items() if found["changed"]]
    print_columns([heading, *every, ("all", *map(str, totals.values()), "")])
    shown = " and ".join(f"{name} {visible(value)}" for name, value in others.items() if value)
    print(f"{shown} from {iso(at)} on, including each server's next connection with the same build")
