"""The texts that people read, found in the source, and the catalogues brought up to date with them.

`python -m streams.texts.translating` rewrites the catalogues; what has no translation then is left empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po, write_po
from jinja2 import Environment, nodes

_HERE: Final = Path(__file__).parent
FOLDERS: Final = (_HERE, _HERE.parent / "report" / "page", _HERE.parent / "notify" / "channels")
"""Where texts are: in modules, and in templates beside them."""
CATALOGUES: Final = tuple(sorted((_HERE / "catalogues").glob("*/page.po")))
_HEADER: Final = rb"""msgid ""
msgstr ""
"Content-Type: text/plain; charset=utf-8\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\n"

"""
"""One and others, in every language so far; what is written about tools and dates changes nothing."""
_KEYWORDS: Final = {"say": (1,), "say_many": (1, 2)}
Text = str | tuple[str, ...]
"""A text, or its singular and plural."""


def texts() -> Iterator[tuple[Text, str]]:
    """Every text that a reader may see in another language, with the file that has it."""
    for path in sorted(path for folder in FOLDERS for path in folder.glob("*.py")):
        for _, text, _, _ in extract_from_file("python", path, keywords=_KEYWORDS):
            yield text, path.name
    for path in sorted(path for folder in FOLDERS for path in folder.glob("templates/*")):
        tree = Environment(autoescape=True).parse(path.read_text(encoding="utf-8"))
        for call in tree.find_all(nodes.Call):
            if isinstance(call.node, nodes.Getattr) and call.node.attr in _KEYWORDS:
                said = [
                    arg.value for arg in call.args[: len(_KEYWORDS[call.node.attr])] if isinstance(arg, nodes.Const)
                ]
                yield said[0] if len(said) == 1 else tuple(said), f"templates/{path.name}"


def read_catalogue(path: Path) -> Catalog:
    """A catalogue from its file."""
    with path.open("rb") as file:
        return read_po(file, locale=path.parent.name)


def update(path: Path) -> None:
    """Bring a catalogue up to date: texts that are no more go, new ones are empty."""
    found = Catalog(fuzzy=False)
    for text, source in texts():
        found.add(text, locations=[(source, 0)])
    catalogue = read_catalogue(path)
    catalogue.update(found, no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    for message in catalogue:
        message.locations = sorted(set(message.locations))
    with path.open("wb") as target:
        target.write(_HEADER)
        write_po(target, catalogue, width=120, omit_header=True, sort_output=True, include_lineno=False)


if __name__ == "__main__":
    for one in CATALOGUES:
        update(one)
