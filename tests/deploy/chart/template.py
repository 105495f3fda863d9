"""Writes objects as a template of Helm: YAML in which some values are expressions, and some parts conditional."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

_STEP = 2


@dataclass(frozen=True, slots=True)
class Inline:
    """An expression that gives one scalar."""

    expression: str


@dataclass(frozen=True, slots=True)
class Block:
    """An expression that gives lines of YAML."""

    expression: str


@dataclass(frozen=True, slots=True)
class Text:
    """An expression that gives text of several lines."""

    expression: str


@dataclass(frozen=True, slots=True)
class Present:
    """A list or a mapping; where it is empty, its key is left out."""

    expression: str


@dataclass(frozen=True, slots=True)
class When:
    """What is there only under a condition."""

    condition: str
    content: Any


@dataclass(frozen=True, slots=True)
class Rest:
    """As a key of a mapping or an item of a list: entries that an expression adds."""

    expression: str


class TemplateError(ValueError):
    """What cannot be written as a template."""


def document(content: Mapping[Any, Any]) -> str:
    """One object as a template; `content` is nested as its manifest is, with the nodes of this module in it.

    Raises:
        TemplateError: a text is one that the template would read as an expression, or has several lines.
    """
    return "\n".join(_mapping(content, 0)) + "\n"


def scalar(value: Any) -> str:
    """A scalar as YAML, in one line."""
    text = yaml.safe_dump([value], default_flow_style=True, width=1 << 20, allow_unicode=True)[1:-2]
    if "{{" in text or "\n" in text:
        raise TemplateError(f"{text!r:.80}: must be one line without an expression")
    return text


def _mapping(content: Mapping[Any, Any], indent: int) -> Iterator[str]:
    for key, value in content.items():
        if isinstance(key, Rest):
            yield from _rest(key, indent)
        else:
            yield from _entry(key, value, indent)


def _entry(key: str, value: Any, indent: int) -> Iterator[str]:
    pad, inner = " " * indent, " " * (indent + _STEP)
    match value:
        case When(condition, content):
            yield f"{{{{- if {condition} }}}}"
            yield from _entry(key, content, indent)
            yield "{{- end }}"
        case Present(expression):
            yield f"{{{{- with {expression} }}}}"
            yield from _entry(key, Block("toYaml ."), indent)
            yield "{{- end }}"
        case Inline(expression):
            yield f"{pad}{key}: {{{{ {expression} }}}}"
        case Block(expression) | Text(expression):
            yield f"{pad}{key}:{' |' if isinstance(value, Text) else ''}"
            yield f"{inner}{{{{- {expression} | nindent {len(inner)} }}}}"
        case dict() if value:
            yield f"{pad}{key}:"
            yield from _mapping(value, indent + _STEP)
        case list() if value:
            yield f"{pad}{key}:"
            yield from _sequence(value, indent + _STEP)
        case _:
            yield f"{pad}{key}: {scalar(value)}"


def _sequence(content: Sequence[Any], indent: int) -> Iterator[str]:
    pad = " " * indent
    for item in content:
        match item:
            case Rest():
                yield from _rest(item, indent)
            case When(condition, inner):
                yield f"{{{{- if {condition} }}}}"
                yield from _sequence([inner], indent)
                yield "{{- end }}"
            case Inline(expression):
                yield f"{pad}- {{{{ {expression} }}}}"
            case dict() if item:
                first, *others = _mapping(item, indent + _STEP)
                if first.startswith("{{"):
                    raise TemplateError(f"{first}: an item of a list cannot begin with a condition")
                yield f"{pad}- {first[indent + _STEP :]}"
                yield from others
            case _:
                yield f"{pad}- {scalar(item)}"


def _rest(rest: Rest, indent: int) -> Iterator[str]:
    yield f"{{{{- with {rest.expression} }}}}"
    yield f"{' ' * indent}{{{{- toYaml . | nindent {indent} }}}}"
    yield "{{- end }}"
