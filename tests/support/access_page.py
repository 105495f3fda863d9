"""The page on access as data: what services and commands may do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from streams.kafka.provisioning import topics_of
from streams.settings.worker import Settings

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "access.md"
EVERY_TOPIC = "every topic of the product"
_SERVICE = re.compile(r"^\| (\w+) \| ([a-z ]+) \| `([^`]+)` \| ([\w, ]+) \|$", re.MULTILINE)
_COMMAND = re.compile(rf"^\|([\w ]*)\|([^|]*)\| ([a-z ]+) \| (`[^`]+`|{EVERY_TOPIC}) \| ([\w, ]+) \|$", re.MULTILINE)


@dataclass(frozen=True, order=True)
class Right:
    """A row of the page, for one operation."""

    who: str
    kind: str
    name: str
    operation: str


@dataclass(frozen=True)
class Need:
    """What a row of commands says: the commands, who runs them, what they ask for."""

    commands: tuple[str, ...]
    user: str
    rights: tuple[Right, ...]


def services() -> list[Right]:
    """The rights of worker, bridge, edge and report."""
    rows = _SERVICE.findall(PAGE.read_text(encoding="utf-8"))
    return [Right(who, kind, name, each) for who, kind, name, operations in rows for each in operations.split(", ")]


def needs() -> list[Need]:
    """The commands in the order of the page; a user without a name is whoever has to."""
    found: list[tuple[tuple[str, ...], str, list[Right]]] = []
    for user, commands, kind, names, operations in _COMMAND.findall(PAGE.read_text(encoding="utf-8")):
        if commands.strip():
            found.append((tuple(re.findall(r"`tes ([^`]+)`", commands)), user.strip(), []))
        _, who, rights = found[-1]
        for name in _names(names):
            rights += [Right(who, kind, name, each) for each in operations.split(", ")]
    return [Need(commands, user, tuple(rights)) for commands, user, rights in found]


def rights() -> list[Right]:
    """What services and named users may do, each right once."""
    return sorted({*services(), *(right for need in needs() if need.user for right in need.rights)})


def _names(cell: str) -> list[str]:
    return [topic.name for topic in topics_of(Settings())] if cell == EVERY_TOPIC else re.findall(r"`([^`]+)`", cell)
