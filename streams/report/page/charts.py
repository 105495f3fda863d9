"""The charts as numbers: areas, axis, labels and a reading for each day; a template draws them.

Coordinates are those of a drawing of `WIDTH` by `HEIGHT`. The same numbers are in a table beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from streams.domain.time import DAY_MS
from streams.report.page.outlook import OutlookDay
from streams.report.queries.history import Day
from streams.texts.languages import Language
from streams.texts.status_words import ROLES, role_of, role_word

WIDTH: Final = 460
HEIGHT: Final = 168
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 134, 8, 20
_LABEL_GAP: Final = 12
"""Between the lines of two labels."""
_MOST_LINES: Final = 4
_TICKS: Final = 4
STACK: Final = tuple(dict.fromkeys(ROLES.values()))
"""Roles from the axis up: what needs action stands on it."""
CONNECTIONS: Final = ("blocked", "delayed", "good")
"""The roles of what was refused, delayed and accepted."""


class Label(NamedTuple):
    """A text at a place."""

    x: float
    y: float
    text: str


class Area(NamedTuple):
    """What one role takes of the drawing: an SVG path, and its label, which may be empty."""

    role: str
    path: str
    label: Label | None


class Point(NamedTuple):
    """A day's column and what it says."""

    x: float
    width: float
    reading: str


class Chart(NamedTuple):
    """A chart, and its table: heads, and rows of a day and numbers. `outlook_x` is where what is to come begins."""

    name: str
    title: str
    summary: str
    areas: list[Area]
    lines: list[Label]
    ticks: list[Label]
    points: list[Point]
    outlook_x: float | None
    heads: list[str]
    rows: list[list[str]]

    @property
    def plot(self) -> tuple[float, float, float, float]:
        """The field of the areas: x, y, width, height."""
        return _LEFT, _TOP, WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM


def servers_chart(language: Language, days: Sequence[Day], outlook: Sequence[OutlookDay] = ()) -> Chart:
    """Servers by status at the end of each day, and what the stages to come make of them."""
    counted = [(day.day, _by_role(day)) for day in days] + [(day.day, dict(day.roles)) for day in outlook]
    words = {role: role_word(language, role) for role in STACK}
    title = language.say("Servers by status")
    chart = _chart(language, "servers", title, STACK, counted, words.__getitem__, len(days))
    return chart._replace(rows=_joined(chart.rows))


def connections_chart(language: Language, days: Sequence[Day]) -> Chart:
    """Connections of each day by what was done with them."""
    words = {
        "good": language.say("accepted"),
        "delayed": language.say("delayed"),
        "blocked": language.say("refused"),
    }
    counted = [(day.day, {"good": day.accepted, "delayed": day.delayed, "blocked": day.refused}) for day in days]
    return _chart(
        language,
        "connections",
        language.say("Connections per day"),
        CONNECTIONS,
        counted,
        words.__getitem__,
        len(days),
    )


def _by_role(day: Day) -> dict[str, int]:
    roles: dict[str, int] = {}
    for (status, _), n in day.servers.items():
        role = role_of(status)
        roles[role] = roles.get(role, 0) + n
    return roles


def _chart(
    language: Language,
    name: str,
    title: str,
    stack: Sequence[str],
    counted: Sequence[tuple[int, Mapping[str, int]]],
    word: Callable[[str], str],
    known: int,
) -> Chart:
    """A chart of roles stacked on one another; of the days the first `known`, one at least, are past."""
    shown = [role for role in stack if any(roles.get(role) for _, roles in counted)]
    most = max(sum(roles.values()) for _, roles in counted)
    step = _step(most)
    top = max(step, -(-most // step) * step)
    width, height = (WIDTH - _LEFT - _RIGHT) / len(counted), HEIGHT - _TOP - _BOTTOM

    def y_of(n: int) -> float:
        return round(_TOP + height * (1 - n / top), 1)

    def x_of(place: int) -> float:
        return round(_LEFT + place * width, 1)

    areas, below, now = [], [0] * len(counted), known - 1
    for role in shown:
        above = [n + roles.get(role, 0) for n, (_, roles) in zip(below, counted, strict=True)]
        label = None
        if above[now] > below[now] or above[-1] > below[-1]:
            n = language.number(above[now] - below[now])
            label = Label(WIDTH - _RIGHT + 6, (y_of(above[-1]) + y_of(below[-1])) / 2, f"{n} {word(role)}")
        areas.append(Area(role, _path(below, above, x_of, y_of), label))
        below = above
    readings = [_reading(language, day, roles, shown, word) for day, roles in counted]
    ticks = range(0, len(counted), -(-len(counted) // _TICKS))
    return Chart(
        name=name,
        title=title,
        summary=language.say("%(title)s. Now: %(reading)s", title=title, reading=readings[now]),
        areas=_without_overlaps(areas),
        lines=[Label(_LEFT - 5, y_of(n), language.number(n)) for n in range(0, top + 1, step)],
        ticks=[Label(x_of(place), HEIGHT - 5, language.short_day(counted[place][0])) for place in ticks],
        points=[Point(x_of(n), round(x_of(n + 1) - x_of(n), 1), reading) for n, reading in enumerate(readings)],
        outlook_x=x_of(known) if known < len(counted) else None,
        heads=[language.say("Day"), *(word(role) for role in shown)],
        rows=[
            [language.short_day(day), *(language.number(roles.get(role, 0)) for role in shown)]
            for day, roles in counted
        ],
    )


def _reading(
    language: Language, day: int, roles: Mapping[str, int], shown: Sequence[str], word: Callable[[str], str]
) -> str:
    said = [f"{language.number(roles[role])} {word(role)}" for role in reversed(shown) if roles.get(role)]
    date = language.short_date(day * DAY_MS)
    return f"{date}: {', '.join(said)}" if said else date


def _path(
    below: Sequence[int], above: Sequence[int], x_of: Callable[[int], float], y_of: Callable[[int], float]
) -> str:
    """The outline of an area in steps, a day each; moves only where it changes."""
    parts = [f"M{x_of(0):g} {y_of(below[0]):g}"] if above else []
    for place, n in enumerate(above):
        if place == 0 or n != above[place - 1]:
            parts.append(f"V{y_of(n):g}")
        if place + 1 == len(above) or above[place + 1] != n:
            parts.append(f"H{x_of(place + 1):g}")
    for place in range(len(below) - 1, -1, -1):
        if place + 1 == len(below) or below[place + 1] != below[place]:
            parts.append(f"V{y_of(below[place]):g}")
        if place == 0 or below[place - 1] != below[place]:
            parts.append(f"H{x_of(place):g}")
    return "".join(parts) + "Z" if parts else ""


def _step(most: int) -> int:
    """The distance between lines of the axis: 1, 2 or 5 times a power of ten."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if most <= factor * size * _MOST_LINES:
                return factor * size
        size *= 10


def _without_overlaps(areas: list[Area]) -> list[Area]:
    """The same with labels moved apart, in order from the axis up and none outside."""
    lowest = float(HEIGHT - _BOTTOM)
    moved = []
    for area in areas:
        if area.label is not None:
            y = min(area.label.y + 4, lowest)
            lowest = y - _LABEL_GAP
            area = area._replace(label=area.label._replace(y=y))
        moved.append(area)
    highest = float(_TOP + 4)
    for place in range(len(moved) - 1, -1, -1):
        label = moved[place].label
        if label is not None:
            y = max(label.y, highest)
            highest = y + _LABEL_GAP
            moved[place] = moved[place]._replace(label=label._replace(y=round(y, 1)))
    return moved


def _joined(rows: list[list[str]]) -> list[list[str]]:
    """Rows of neighbouring days that say the same as one."""
    joined: list[list[str]] = []
    begins: list[str] = []
    for day, *numbers in rows:
        if joined and joined[-1][1:] == numbers:
            joined[-1][0] = f"{begins[-1]}\N{EN DASH}{day}"
        else:
            joined.append([day, *numbers])
            begins.append(day)
    return joined
