"""What an examination finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.domain.time import iso


class State(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `page` explains it, and is a path in the repository, empty where all is well."""

    check: str
    state: State
    text: str
    page: str = ""


def told(moment: int) -> str:
    """A moment of a record (UTC milliseconds), which may be one that no calendar has."""
    try:
        return iso(moment)
    except OverflowError:
        return f"{moment} ms"


def ok(check: str, text: str) -> Finding:
    """Nothing is wrong."""
    return Finding(check, State.OK, text)


def warning(check: str, text: str, page: str) -> Finding:
    """Something that somebody should look at; the service works."""
    return Finding(check, State.WARNING, text, page)


def problem(check: str, text: str, page: str) -> Finding:
    """Something that keeps the service, or a part of it, from its work."""
    return Finding(check, State.PROBLEM, text, page)


def skipped(check: str, text: str) -> Finding:
    """Could not be looked at, or need not be."""
    return Finding(check, State.SKIPPED, text)
