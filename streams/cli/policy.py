"""`tes policy`: check, publish and compare policies, and see which one governs."""

from __future__ import annotations

import argparse
import asyncio
import difflib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError

from streams.cli.columns import print_columns
from streams.cli.forms import add_forms, print_json
from streams.cli.messages import print_error, print_message
from streams.cli.options import ISSUER_HELP, operator
from streams.cli.times import TypedTime
from streams.domain.exchange.tables import CatalogueError
from streams.domain.policy.content import UNKNOWN_LINE, PolicyError
from streams.domain.policy.policy import Mode, Policy
from streams.domain.policy.publication import PublicationError
from streams.domain.time import iso
from streams.kafka.topics import TopicError
from streams.policies.catalogue.files import read_catalogue_folder
from streams.policies.configured import configured_policies, policy_topic_of
from streams.policies.files import read_policy, shipped_policies
from streams.policies.modes import governing_policy, publish_mode
from streams.policies.publishing import moment_now, publish
from streams.policies.reader import read_published
from streams.policies.topic import Published
from streams.settings.worker import Settings, read_settings
from streams.visible import visible
from streams.wire.policy import content_of, from_millis, policy_yaml, to_millis
from streams.wire.records import to_json

_REFERENCE = "a shipped policy, a YAML file, or a published one as ID or ID/VERSION"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser("check", help="validate policy files and report all errors")
    check.add_argument("files", nargs="+", metavar="FILE")
    check.add_argument(
        "--catalogue", metavar="FOLDER", help="catalogue to check CU lines against (default: the built-in one)"
    )
    check.set_defaults(run=_check)
    publishing = actions.add_parser("publish", help="publish a policy version")
    publishing.add_argument("file", metavar="FILE")
    publishing.add_argument(
        "--effective-at", metavar="DATE", help="when it takes effect (default: the file's effective_at)"
    )
    publishing.set_defaults(run=_publish)
    mode = actions.add_parser("mode", help="publish the current policy with another mode; takes effect in 5 s")
    mode.add_argument("mode", choices=[item.value for item in Mode])
    mode.set_defaults(run=_mode)
    for action in (publishing, mode):
        action.add_argument("--by", default=operator(), metavar="NAME", help=ISSUER_HELP)
    listing = actions.add_parser("list", help="past, current and scheduled versions")
    add_forms(listing)
    listing.set_defaults(run=_list)
    show = actions.add_parser("show", help="one policy as YAML")
    show.add_argument("policy", help=_REFERENCE)
    show.add_argument("--json", action="store_true", help="one JSON object on stdout")
    show.set_defaults(run=_show)
    diff = actions.add_parser("diff", help="compare two policies; exit code 1 if they differ")
    diff.add_argument("before", help=_REFERENCE)
    diff.add_argument("after", help=_REFERENCE)
    diff.set_defaults(run=_diff)


def _refused(action: str, error: Exception) -> int:
    print_error(f"tes policy {action}", error)
    return 1 if isinstance(error, (KafkaError, TopicError)) else 2


def _check(arguments: argparse.Namespace) -> int:
    code = 0
    try:
        catalogue = read_catalogue_folder(arguments.catalogue)[1] if arguments.catalogue else None
    except CatalogueError as error:
        for line in error.errors:
            print_message(line)
        return 2
    for file in arguments.files:
        try:
            policy = read_policy(file, catalogue)
        except PolicyError as error:
            code = 2
            for line in error.errors:
                print_message(line)
        else:
            print(f"{visible(file)}: {visible(policy.policy_id)} version {policy.version} is valid")
    return code


def published_rules(settings: Settings) -> Published:
    """Every sound policy and catalogue published on the cluster of the settings.

    Raises:
        KafkaError: the cluster did not answer.
    """
    return asyncio.run(read_published(policy_topic_of(settings)))


def published_policies(settings: Settings) -> list[Policy]:
    """Every sound version of a policy published on the cluster of the settings.

    Raises:
        KafkaError: the cluster did not answer.
    """
    return list(published_rules(settings).policies)


def _read_policy(file: str, settings: Settings) -> Policy:
    """Read a policy; one that names a CU line that the built-in catalogue lacks may need a published catalogue."""
    try:
        return read_policy(file)
    except PolicyError as error:
        if not any(UNKNOWN_LINE in line for line in error.errors):
            raise
        catalogues = published_rules(settings).catalogues
        if not catalogues:
            raise
        return read_policy(file, max(catalogues, key=lambda item: item.effective_at).catalogue)


def _publish(arguments: argparse.Namespace) -> int:
    typed = None
    try:
        settings = read_settings()
        policy = _read_policy(arguments.file, settings)
        path = Path(arguments.file)
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        if arguments.effective_at:
            typed = TypedTime.parse("--effective-at", arguments.effective_at)
            policy = replace(policy, effective_at=from_millis(typed.at))
        elif written := re.search(r"^effective_at: *['\"]?([^'\"#\n]*[^'\"#\s])", source, re.MULTILINE):
            typed = TypedTime("effective_at", written[1], to_millis(policy.effective_at))
        topic, configured = policy_topic_of(settings), configured_policies(settings)
        _say(asyncio.run(publish(topic, settings.app_id, policy, configured, arguments.by, source)))
    except PublicationError as error:
        said = typed.quote(str(error)) if typed else str(error)
        hint = " (give --effective-at)" if "is in the past" in said and not arguments.effective_at else ""
        return _refused("publish", PublicationError(f"{said}{hint}"))
    except (ValueError, OSError, KafkaError, TopicError) as error:
        return _refused("publish", error)
    return 0


def _say(done: Policy) -> None:
    at = iso(to_millis(done.effective_at))
    print(f"{visible(done.policy_id)} version {done.version} ({done.mode.value}) takes effect at {at}")


def _mode(arguments: argparse.Namespace) -> int:
    try:
        settings = read_settings()
        topic, configured = policy_topic_of(settings), configured_policies(settings)
        changed, later = asyncio.run(
            publish_mode(topic, settings.app_id, configured, Mode(arguments.mode), arguments.by)
        )
    except (ValueError, OSError, KafkaError, TopicError) as error:
        return _refused("mode", error)
    for policy in later:
        at = iso(to_millis(policy.effective_at))
        said = f"{policy.policy_id} version {policy.version} takes effect at {at} with mode {policy.mode.value}"
        print_message(f"tes policy mode: {said}")
    _say(changed)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    try:
        settings = read_settings()
        configured, published = configured_policies(settings), published_policies(settings)
    except (ValueError, OSError, KafkaError, TopicError) as error:
        return _refused("list", error)
    now = moment_now()
    governing = governing_policy(configured, published, now)
    rows: list[dict[str, Any]] = [
        {
            "policy_id": policy.policy_id,
            "version": policy.version,
            "effective_at": iso(to_millis(policy.effective_at)),
            "mode": policy.mode.value,
            "from": "topic" if policy in published else "settings",
            "state": "governs" if policy is governing else "to come" if policy.effective_at > now else "past",
        }
        for policy in sorted([*configured, *published], key=lambda policy: policy.effective_at)
    ]
    if print_json(arguments, rows):
        return 0
    print_columns([[name.upper() for name in rows[0]], *([str(cell) for cell in row.values()] for row in rows)])
    print_message(f"shipped with the product: {', '.join(shipped_policies())}")
    return 0


def find_policy(reference: str, settings: Settings) -> Policy:
    """A shipped policy, one of a file, or a published one (`ID` is its newest version).

    Raises:
        PolicyError: there is none, or the file is malformed.
        KafkaError: it can only be a published one, and the cluster did not answer.
    """
    if reference in shipped_policies() or Path(reference).is_file() or reference.endswith((".yaml", ".yml")):
        return _read_policy(reference, settings)
    policy_id, _, version = reference.partition("/")
    # The list shows those of the settings too.
    found = [
        policy
        for policy in [*configured_policies(settings), *published_policies(settings)]
        if policy.policy_id == policy_id and version in ("", str(policy.version))
    ]
    if not found:
        raise PolicyError([f"{reference}: must be {_REFERENCE}"])
    return found[-1]


def _show(arguments: argparse.Namespace) -> int:
    try:
        policy = find_policy(arguments.policy, read_settings())
    except (ValueError, OSError, KafkaError, TopicError) as error:
        return _refused("show", error)
    if arguments.json:
        content = to_json(content_of(policy) | {"effective_at": to_millis(policy.effective_at)})
        print(json.dumps(content, default=str))
    else:
        print(policy_yaml(policy), end="")
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    try:
        settings = read_settings()
        texts = [policy_yaml(find_policy(name, settings)) for name in (arguments.before, arguments.after)]
    except (ValueError, OSError, KafkaError, TopicError) as error:
        return _refused("diff", error)
    before, after = (text.splitlines() for text in texts)
    lines = list(difflib.unified_diff(before, after, arguments.before, arguments.after, n=2, lineterm=""))
    for line in lines:
        print(visible(line))
    return 1 if lines else 0
