"""Writes the files anew."""

from __future__ import annotations

import json
import sys

from tests.golden import FOLDER
from tests.golden.decisions import simulations
from tests.golden.stores import state_rows

FILES = {"simulate.json": simulations, "state_rows.json": state_rows}


def write() -> None:
    """Write the files anew."""
    for name, make in FILES.items():
        text = json.dumps(make(), indent=1, ensure_ascii=False, sort_keys=True)
        (FOLDER / name).write_text(text + "\n", encoding="utf-8")
        sys.stdout.write(f"{FOLDER / name}\n")


if __name__ == "__main__":
    write()
