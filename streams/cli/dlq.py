"""`tes dlq`: look at dead letters, replay them or discard them."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from aiokafka.errors import KafkaError

from streams.cli.columns import print_columns
from streams.cli.forms import add_forms, print_array, print_json
from streams.cli.messages import print_error, print_message
from streams.cli.options import EXIT_REFUSED, ISSUER_HELP, operator
from streams.cli.terminal import write_bytes
from streams.domain.time import iso
from streams.kafka.record import Headers
from streams.kafka.topics import TopicError
from streams.operations.dead_letters import (
    INPUTS,
    DeadLetter,
    DeadLetterError,
    DeadLetterFilter,
    DispositionKind,
    RedriveResult,
    handle,
    parse_place,
    read_letters,
)
from streams.settings.worker import Settings, read_settings
from streams.visible import visible
from streams.wire.codec import AvroCodec, MalformedRecordError
from streams.wire.records import parse_day_or_moment, to_json
from streams.wire.registry import RegistryError, registry_of

_SHOWN_BYTES = 2_000
_FILTERS = ("input", "error", "tenant", "since")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="list unhandled dead letters")
    _add_filters(listing)
    listing.add_argument("--handled", action="store_true", help="include replayed and discarded ones")
    add_forms(listing)
    listing.set_defaults(run=lambda arguments: _run(arguments, _list))
    show = actions.add_parser("show", help="show one dead letter: error, source, and the decoded record if possible")
    show.add_argument("letter", help="position as shown by `tes dlq list`, such as connections/2/15")
    form = show.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object on stdout")
    form.add_argument("--raw", action="store_true", help="write only the raw bytes of the value to stdout")
    show.set_defaults(run=lambda arguments: _run(arguments, _show))
    for name, text in (
        ("redrive", "write the records back to their topics, at most once"),
        ("discard", "mark as discarded (records remain until retention)"),
    ):
        action = actions.add_parser(name, help=text, aliases=["replay"] if name == "redrive" else [])
        action.add_argument(
            "letters",
            nargs="*",
            metavar="LETTER",
            help="positions as shown by `tes dlq list`, such as connections/2/15",
        )
        _add_filters(action)
        action.add_argument("--all", action="store_true", help="all unhandled dead letters")
        action.add_argument("--dry-run", action="store_true", help="dry run: only print what would be done")
        action.add_argument("--by", default=operator(), metavar="NAME", help=ISSUER_HELP)
        action.add_argument("--reason", required=name == "discard", help="reason to record")
        add_forms(action, "one JSON array on stdout, an object per dead letter")
        action.set_defaults(run=lambda arguments: _run(arguments, _handle))


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input", choices=list(INPUTS), help="only dead letters of this input")
    parser.add_argument("--error", metavar="TEXT", help="case-insensitive substring of the error")
    parser.add_argument("--tenant", metavar="KEY", help="only records with this key")
    parser.add_argument("--since", metavar="DATE", help="only dead letters written at or after this time, UTC")


def _run(
    arguments: argparse.Namespace,
    action: Callable[[argparse.Namespace, Settings, DeadLetterFilter], Coroutine[Any, Any, int]],
) -> int:
    """Exit code 0 done, 1 Kafka failed, 2 wrong usage or no such letter, 3 a letter was refused."""
    try:
        return asyncio.run(action(arguments, read_settings(), _wanted(arguments)))
    except (ValueError, KafkaError, TopicError, RegistryError, OSError) as error:
        print_error(f"tes dlq {arguments.action}", error)
        return 2 if isinstance(error, ValueError) else 1


def _wanted(arguments: argparse.Namespace) -> DeadLetterFilter:
    given = vars(arguments)
    places = [given["letter"]] if "letter" in given else given.get("letters", [])
    filters = [name for name in _FILTERS if given.get(name) is not None]
    if "all" in given:
        ways = bool(places) + bool(filters) + arguments.all
        if ways != 1:
            raise DeadLetterError("give letters, filters or --all, exactly one of these")
    return DeadLetterFilter(
        places=tuple(map(parse_place, places)),
        inputs=(given["input"],) if given.get("input") else tuple(INPUTS),
        error=given.get("error") or "",
        tenant=given.get("tenant"),
        since=parse_day_or_moment("--since", given["since"]) if given.get("since") else 0,
        with_handled=given.get("handled", False),
    )


async def _list(arguments: argparse.Namespace, settings: Settings, wanted: DeadLetterFilter) -> int:
    # Partitions are read side by side, and the order of the list must not depend on which answers first. Only what is
    # shown of a letter is kept until all are known: together their values may be far more than memory holds.
    is_json = arguments.json or arguments.jsonl
    rank = {name: number for number, name in enumerate(INPUTS)}
    found = [
        ((rank[letter.input], letter.partition, letter.offset), _line(letter, is_json))
        async for letter in read_letters(settings, wanted)
    ]
    found.sort(key=lambda line: line[0])
    if arguments.json:
        print_array(line for _, (line,) in found)
    elif arguments.jsonl:
        for _, (line,) in found:
            print(line)
    else:
        print_columns([("LETTER", "WRITTEN", "KEY", "BYTES", "HANDLED", "ERROR"), *(row for _, row in found)])
    return 0


def _line(letter: DeadLetter, is_json: bool) -> tuple[str, ...]:
    """A letter in the list: its cells, or a single one with JSON."""
    if is_json:
        return (json.dumps(_summary(letter)),)
    return (
        letter.position,
        iso(letter.timestamp),
        _text(letter.key)[:40],
        str(len(letter.value or b"")),
        letter.handled.action if letter.handled else "-",
        visible(letter.error)[:100],
    )


async def _show(arguments: argparse.Namespace, settings: Settings, wanted: DeadLetterFilter) -> int:
    letters = [letter async for letter in read_letters(settings, wanted)]
    if not letters:
        raise DeadLetterError(f"letter: {arguments.letter!r}: does not exist")
    letter = letters[0]
    if arguments.raw:
        if sys.stdout.isatty():
            raise DeadLetterError(
                "--raw: standard output is a terminal, which obeys control characters: write to a file"
            )
        write_bytes(letter.value or b"")
        return 0
    codec = AvroCodec(INPUTS[letter.input], registry_of(settings))
    try:
        if letter.is_batch:
            raise MalformedRecordError("a whole batch of records")
        record, why = to_json(codec.decode(letter.value)), None
    except MalformedRecordError as error:
        record, why = None, str(error)
    if arguments.json:
        value = None if letter.value is None else base64.b64encode(letter.value).decode()
        print(json.dumps({**_summary(letter), "record": record, "not_decoded": why, "value_base64": value}))
        return 0
    _print_facts(_summary(letter))
    if record is not None:
        _print_facts({"record": record})
    else:
        _print_facts({"not_decoded": why, "value": repr((letter.value or b"")[:_SHOWN_BYTES])})
    return 0


def _print_facts(facts: dict[str, Any]) -> None:
    for name, shown in facts.items():
        items = (
            [f"{visible(key)}: {_cell(item)}" for key, item in shown.items()]
            if isinstance(shown, dict)
            else [_cell(shown)]
        )
        for number, item in enumerate(items or ["-"]):
            print(f"{'' if number else name:12} {item}")


async def _handle(arguments: argparse.Namespace, settings: Settings, wanted: DeadLetterFilter) -> int:
    action = DispositionKind.DISCARDED if arguments.action == "discard" else DispositionKind.REPLAYED
    outcome = await handle(settings, wanted, action, arguments.by, arguments.reason, arguments.dry_run)
    _print_outcome(arguments, action, outcome)
    return EXIT_REFUSED if outcome.refused else 0


def _print_outcome(arguments: argparse.Namespace, action: DispositionKind, outcome: RedriveResult) -> None:
    said = f"would be {action}" if arguments.dry_run else str(action)
    rows = [{"letter": letter.position, "outcome": said, "why": None} for letter in outcome.done]
    rows += [{"letter": letter.position, "outcome": "REFUSED", "why": why} for letter, why in outcome.refused]
    if not print_json(arguments, rows):
        for letter in outcome.done:
            print(f"{letter.position}  {said}  {_text(letter.key)[:40]}  {visible(letter.error)[:80]}")
        for letter, why in outcome.refused:
            print(f"{letter.position}  REFUSED  {visible(why)}")
    print_message(f"{len(outcome.done)} {said}, {len(outcome.refused)} refused")


def _summary(letter: DeadLetter) -> dict[str, Any]:
    handled = letter.handled
    return {
        "letter": letter.position,
        "written_at": iso(letter.timestamp),
        "error": letter.error,
        "key": None if letter.key is None else letter.key.decode("utf-8", "replace"),
        "bytes": len(letter.value or b""),
        "headers": _headers(letter.headers),
        "origin": letter.origin,
        "flaw": letter.unreplayable_reason,
        "handled": handled
        and {"action": handled.action, "at": iso(handled.at), "by": handled.by, "reason": handled.reason},
    }


def _headers(headers: Headers) -> dict[str, str]:
    return {name: (text or b"").decode("utf-8", "replace") for name, text in headers}


def _text(value: bytes | None) -> str:
    return "-" if value is None else visible(value.decode("utf-8", "replace"))


def _cell(value: Any) -> str:
    return "-" if value is None else visible(str(value))
