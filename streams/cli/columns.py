"""Rows and settings for people: aligned columns on stdout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from streams.cli.screen import output_console
from streams.settings.base import CheckedSettings
from streams.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

_GAP: Final = 2
_LEAST_WIDTH: Final = 24
"""Narrower no column is made, unless its cells are: words would be torn."""
_ROWS_AT_ONCE: Final = 200
"""Are drawn: the first ones of many are seen at once."""
_MOST_CHARS: Final = 240
"""Of a cell on a terminal; JSON has all of it."""
_MOMENT = re.compile(r"\b(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d(?:\.\d+)?Z")
STYLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("BLOCKED", "BLOCK", "REFUSED"), "red"),
    **dict.fromkeys(("THROTTLED", "THROTTLE"), "yellow"),
    **dict.fromkeys(("COMPLIANT", "ACCEPT", "ACCEPTED", "in force", "governs"), "green"),
}
"""Cells that are told apart by colour too; never by colour alone."""


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows, the heading first; cells may hold any text.

    On a terminal they are fitted into its width; elsewhere each column is as wide as its widest cell.
    """
    shown = [[visible(cell) for cell in row] for row in rows]
    console = output_console()
    if console is not None:
        _draw(console, shown)
        return
    for line in _aligned(shown):
        print(line)


def _shortened(cell: str) -> str:
    return cell if len(cell) <= _MOST_CHARS else f"{cell[: _MOST_CHARS - 1]}…"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _draw(console: Console, rows: list[list[str]]) -> None:
    """A table if the terminal is wide enough, at need with shorter times and wrapped words; else blocks of lines."""
    rows = [[_shortened(cell) for cell in row] for row in rows]
    short = [[_MOMENT.sub(r"\1 \2", cell) for cell in row] for row in rows]
    for cells, is_wrapped in ((rows, False), (short, False), (short, True)):
        columns = list(zip(*cells, strict=True))
        least = [min(_width(column, is_wrapped), _LEAST_WIDTH) for column in columns]
        room = console.width - sum(least) - _GAP * (len(least) - 1)
        if room >= 0:
            most = [_width(column, is_wrapped=False) for column in columns]
            _draw_table(console, cells, _spread(room, least, most))
            return
    _draw_blocks(console, short)


def _width(cells: Sequence[str], is_wrapped: bool) -> int:
    """Of the widest cell, or of the widest word."""
    from rich.cells import cell_len

    return max(map(cell_len, (word for cell in cells for word in cell.split()) if is_wrapped else cells), default=0)


def _spread(room: int, least: Sequence[int], most: Sequence[int]) -> list[int]:
    """Widths of columns that share what room there is, the narrowest ones first."""
    widths = list(least)
    while room and (growing := [number for number, width in enumerate(widths) if width < most[number]]):
        widths[min(growing, key=lambda number: widths[number])] += 1
        room -= 1
    return widths


def _draw_table(console: Console, rows: list[list[str]], widths: Sequence[int]) -> None:
    from rich.table import Table
    from rich.text import Text

    heading, *others = rows
    for begin in range(0, max(1, len(others)), _ROWS_AT_ONCE):
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold", show_header=not begin)
        for name, width in zip(heading, widths, strict=True):
            table.add_column(Text(name), width=width, overflow="fold")
        for row in others[begin : begin + _ROWS_AT_ONCE]:
            table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
        console.print(table)


def _draw_blocks(console: Console, rows: list[list[str]]) -> None:
    from rich.cells import cell_len
    from rich.text import Text

    heading, *others = rows
    if not others:
        console.print(Text("  ".join(heading), "bold"), soft_wrap=True)
    width = max(map(cell_len, heading))
    for number, row in enumerate(others):
        block = Text("\n" if number else "")
        for name, cell in zip(heading, row, strict=True):
            block.append(f"{name:{width}}", "bold").append("  ").append(cell, STYLES.get(cell, "")).append("\n")
        console.print(block, end="", soft_wrap=True)


def print_settings(settings: CheckedSettings, *, as_json: bool) -> None:
    """Print every setting with its variable, secrets redacted: a line each, or one JSON object."""
    shown = settings.shown()
    if as_json:
        print(json.dumps(shown))
        return
    for variable, value in shown.items():
        print(f"{variable:30} {visible(','.join(value) if isinstance(value, tuple) else str(value))}")
