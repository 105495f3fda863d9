"""Values of any type of the domain in which no two fields hold the same, so that no exchange of two goes unseen."""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import Enum
from itertools import count
from typing import Any, Union, get_args, get_origin, get_type_hints

from tests.golden import REPOSITORY


def hints_of(kind: type[Any]) -> dict[str, Any]:
    """The types of a class's fields, read from its source: a compiled class does not know them."""
    module = sys.modules[kind.__module__]
    source = REPOSITORY.joinpath(*kind.__module__.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    (found,) = (
        node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    stated = {
        node.target.id: ast.unparse(node.annotation)
        for node in found.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return get_type_hints(types.SimpleNamespace(__annotations__=stated), vars(module))


class _Filler:
    """Makes values of any type of the domain, each of them another one."""

    def __init__(self) -> None:
        self._numbers = count(1_000_003, 7)
        self._choices: dict[type, Any] = {}

    def value(self, kind: Any, name: str) -> Any:
        """A value of a type; `name` is part of texts."""
        origin, inner = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            return self.value(next(item for item in inner if item is not type(None)), name)
        if origin is tuple and inner[-1] is not Ellipsis:
            return tuple(self.value(item, name) for item in inner)
        if origin is tuple:
            return tuple(self.value(inner[0], name) for _ in range(2))
        if origin is not None and issubclass(origin, Mapping):
            return {self.value(inner[0], name): self.value(inner[1], name) for _ in range(2)}
        return self._plain(kind, name)

    def _plain(self, kind: Any, name: str) -> Any:
        if kind is bool:
            return False
        if kind is int:
            return next(self._numbers)
        if kind is str:
            return f"{name}-{next(self._numbers)}-\u00fc"
        if kind is bytes:
            return b"".join(next(self._numbers).to_bytes(8, "big") for _ in range(2))
        if issubclass(kind, Enum):
            members = list(kind)
            self._choices[kind] = self._choices.get(kind, -1) + 1
            return members[self._choices[kind] % len(members)]
        return kind(**{part: self.value(hint, part) for part, hint in hints_of(kind).items()})


def full(kind: type[Any]) -> Any:
    """A value of a dataclass or named tuple in which no two numbers, texts or moments are the same."""
    return _Filler().value(kind, kind.__name__)


def bare(state: Any) -> Any:
    """The same with nothing in whatever may be empty."""
    hints = hints_of(type(state))
    empty: dict[str, Any] = {}
    for item in fields(state):
        origin, inner = get_origin(hints[item.name]), get_args(hints[item.name])
        if type(None) in inner:
            empty[item.name] = None
        elif origin is tuple:
            empty[item.name] = ()
        elif origin is not None and issubclass(origin, Mapping):
            empty[item.name] = {}
    return replace(state, **empty)
