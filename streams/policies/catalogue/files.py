"""Reads the build catalogue from CSV files: the shipped one (`streams/policies/data`), or a folder of the same form.

The shipped files are checked as a stranger's are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from streams.domain.exchange.catalogue import Catalogue
from streams.domain.exchange.tables import FILES, MAX_TEXT_CHARS, CatalogueError, Row, Tables, catalogue_of

SOURCES: Final = "exchange_sources.csv"
"""May stand beside them: a line for each source with what of it was read."""
MAX_FILE_BYTES = 2 << 20
"""Of one CSV file; the largest shipped one has 45 KB."""


@cache
def shipped_tables() -> Tables:
    """The tables that ship with the product, read once."""
    return read_tables(files("streams.policies.data"), "built in")


@cache
def shipped_catalogue() -> Catalogue:
    """The catalogue that ships with the product, read once."""
    return catalogue_of(shipped_tables())


def read_tables(folder: Traversable, source: str) -> Tables:
    """Read the five CSV files of a folder; `source` names it in errors.

    Raises:
        CatalogueError: a file is missing or no such CSV file.
    """
    errors: list[str] = []
    rows: dict[str, tuple[Row, ...]] = {}
    places: dict[str, Sequence[str]] = {}
    for table, (name, columns) in FILES.items():
        place = f"{source}/{name}"
        try:
            found = list(_csv_rows(folder / name, columns))
        except (OSError, ValueError, csv.Error) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            errors.append(f"{place}: {why}")
        else:
            rows[table] = tuple(row for _, row in found)
            places[table] = [f"{place}:{line}" for line, _ in found]
    if errors:
        raise CatalogueError(errors)
    return Tables(rows, places)


def read_catalogue_folder(folder: str) -> tuple[Tables, Catalogue]:
    """Read and check a folder with the five CSV files.

    Raises:
        CatalogueError: with every error found.
    """
    path = Path(folder)
    if not path.is_dir():
        raise CatalogueError([f"{folder}: must be a folder with {', '.join(name for name, _ in FILES.values())}"])
    tables = read_tables(path, folder.rstrip("/"))
    return tables, catalogue_of(tables)


def provenance_of(folder: str) -> str:
    """What the folder's `exchange_sources.csv` says of where the tables come from, in one line; empty without one.

    Raises:
        CatalogueError: it is no text, or too long.
    """
    path = Path(folder) / SOURCES
    try:
        said = "; ".join(line for line in path.read_text(encoding="utf-8").splitlines()[1:] if line)
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError([f"{path}: {error}"]) from None
    if not said.isprintable() or len(said) > MAX_TEXT_CHARS:
        rule = f"must have no control or format characters, and at most {MAX_TEXT_CHARS} characters"
        raise CatalogueError([f"{path}: {said[:120]!r}: {rule}"])
    return said


def write_tables(tables: Tables, folder: Path) -> None:
    """Write the five CSV files.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for table, (name, columns) in FILES.items():
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(tables.rows[table])


def _csv_rows(file: Traversable, columns: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    with file.open("rb") as stream:
        content = stream.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"has more than {MAX_FILE_BYTES} bytes")
    reader = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
    heading = tuple(next(reader, ()))
    if sorted(heading) != sorted(columns):
        raise ValueError(f"1: heading: {','.join(heading)[:200]!r}: must be {','.join(columns)}")
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(heading):
            raise ValueError(f"{reader.line_num}: has {len(cells)} cells, the heading {len(heading)}")
        row = dict(zip(heading, cells, strict=True))
        yield reader.line_num, {column: row[column] for column in columns}
