"""Writes the files anew."""

from __future__ import annotations

import sys

from tests.golden import FOLDER
from tests.golden.files import FILES, text_of

if __name__ == "__main__":
    for name in FILES:
        (FOLDER / name).write_text(text_of(name), encoding="utf-8")
        sys.stdout.write(f"{FOLDER / name}\n")
