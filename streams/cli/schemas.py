"""`tes schemas`: whether the schema registry has this version's schemas, and how it gets them."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import Final

from streams.cli.columns import print_columns
from streams.cli.forms import add_forms, print_json
from streams.cli.messages import print_error, print_message
from streams.cli.options import EXIT_REFUSED
from streams.settings.base import refuse
from streams.settings.worker import Settings, read_settings
from streams.wire.registry import ConfluentRegistry, RegistryError, registry_of
from streams.wire.schemas import SUBJECTS, load_schema

_HEADINGS: Final = ("SUBJECT", "ID", "STATE")
REGISTERED, MISSING, INCOMPATIBLE = "registered", "missing", "incompatible"


@dataclass(frozen=True, slots=True)
class SubjectState:
    """A subject of the registry; `id` is that of this version's schema there, and `why` what keeps it out."""

    subject: str
    id: int | None
    state: str
    why: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser(
        "check",
        help="whether the registry has this version's schemas, or would take them; changes nothing",
        epilog="exit codes: 0 all are registered; 1 the registry failed; 2 invalid settings; 3 some are missing",
    )
    add_forms(check)
    check.set_defaults(run=_check)
    register = actions.add_parser(
        "register",
        help="register this version's schemas, so that services need no right to do so",
        description="Register every schema as the next version of its subject. One that is there keeps its id. Where "
        "the registry would refuse one, none is registered.",
        epilog="exit codes: 0 all are registered; 1 the registry failed; 2 invalid settings; 3 it would refuse one",
    )
    add_forms(register)
    register.set_defaults(run=_register)


def _registry() -> tuple[Settings, ConfluentRegistry]:
    """The registry that the settings name.

    Raises:
        SettingsError: they are refused, or name none.
    """
    settings = read_settings()
    registry = registry_of(settings)
    if not isinstance(registry, ConfluentRegistry):
        raise refuse(settings, "schema_registry_url", "must be set: without a registry the file that ships is used")
    return settings, registry


def look_up(registry: ConfluentRegistry, prefix: str) -> list[SubjectState]:
    """What the registry says of each of this version's schemas; changes nothing.

    Raises:
        RegistryError: it did not answer.
    """
    found = []
    for name, subject in SUBJECTS.items():
        schema = load_schema(name)
        schema_id = registry.known_id_of(subject, schema)
        why = None if schema_id is not None else registry.explain_incompatible(subject, schema)
        state = REGISTERED if schema_id is not None else MISSING if why is None else INCOMPATIBLE
        found.append(SubjectState(prefix + subject, schema_id, state, why or ""))
    return found


def _check(arguments: argparse.Namespace) -> int:
    try:
        settings, registry = _registry()
        found = look_up(registry, settings.topic_prefix)
    except (ValueError, RegistryError) as error:
        return _failed("check", error)
    _show("check", arguments, found)
    return 0 if all(one.state == REGISTERED for one in found) else EXIT_REFUSED


def _register(arguments: argparse.Namespace) -> int:
    try:
        settings, registry = _registry()
        found = look_up(registry, settings.topic_prefix)
        if any(one.state == INCOMPATIBLE for one in found):
            _show("register", arguments, found)
            return EXIT_REFUSED
        found = [
            SubjectState(settings.topic_prefix + subject, registry.id_of(subject, load_schema(name)), REGISTERED)
            for name, subject in SUBJECTS.items()
        ]
    except (ValueError, RegistryError) as error:
        return _failed("register", error)
    _show("register", arguments, found)
    return 0


def _failed(action: str, error: Exception) -> int:
    print_error(f"tes schemas {action}", error)
    return 1 if isinstance(error, RegistryError) else 2


def _show(action: str, arguments: argparse.Namespace, found: list[SubjectState]) -> None:
    for one in found:
        if one.why:
            print_message(f"tes schemas {action}: {one.subject}: {one.why}")
    if print_json(arguments, map(asdict, found)):
        return
    print_columns([_HEADINGS, *((one.subject, "-" if one.id is None else str(one.id), one.state) for one in found)])
