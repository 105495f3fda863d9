"""Reads small YAML files that a person wrote, without the parts of YAML by which a short text becomes a large one.

Aliases and merge keys are not allowed: nested, they describe a tree that is exponentially larger than the text. So are
tags (`!!bool maybe`), a key given twice (YAML would keep the last one and say nothing), and what is longer or deeper
than any file of this kind. Keys are always text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from streams.domain.bounds import MAX_KEY_CHARS

MAX_TEXT_CHARS = 65_536
MAX_DEPTH = 12
MAX_NUMBER_CHARS = 64
"""Of a number or a date; making an integer of its digits takes more than linear time."""

_STRING = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"


class _StrictLoader(yaml.SafeLoader):
    """Refuses, with the line, what the module's docstring names."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _refusal(f"'{event.anchor[:80]}': anchors and aliases are not allowed", event.start_mark)
        if getattr(event, "tag", None):
            raise _refusal(f"'{event.tag[:80]}': tags are not allowed", event.start_mark)
        if self._depth >= MAX_DEPTH:
            raise _refusal(f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        elif isinstance(node, yaml.ScalarNode) and node.tag != _STRING and len(node.value) > MAX_NUMBER_CHARS:
            raise _refusal(f"'{node.value[:80]}': longer than {MAX_NUMBER_CHARS} characters", node.start_mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            raise _refusal(f"'{str(node.value)[:80]}': {error}", node.start_mark) from None

    def construct_mapping(self, node: yaml.Node, deep: bool = False) -> dict[Any, Any]:
        return {key.value: self.construct_object(value, deep) for key, value in node.value}


def _refusal(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _refusal("a key must be text, not a list or mapping", key.start_mark)
        if key.tag == _MERGE:
            raise _refusal("'<<': merge keys are not allowed", key.start_mark)
        if len(key.value) > MAX_KEY_CHARS:
            raise _refusal(f"'{key.value[:80]}': a key has at most {MAX_KEY_CHARS} characters", key.start_mark)
        if key.value in seen:
            raise _refusal(f"'{key.value}': occurs twice", key.start_mark)
        seen.add(key.value)


def load_strictly(text: str, most_chars: int = MAX_TEXT_CHARS) -> tuple[Any, dict[str, int]]:
    """The content of one YAML document, and the line of each field by its path, such as `ladder[0].from_day`.

    Raises:
        YAMLError: it is no YAML, or has what is refused; the message names the line.
    """
    if len(text) > most_chars:
        raise yaml.YAMLError(f"{len(text)} characters, more than {most_chars}")
    loader = _StrictLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        return loader.construct_document(node), dict(_lines("", node))
    finally:
        loader.dispose()


def _lines(path: str, node: yaml.Node) -> Iterator[tuple[str, int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _lines(f"{path}.{key.value}".lstrip("."), value)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _lines(f"{path}[{index}]", value)
