"""Builds the product; with COMPILE=1 the modules that run for each connection are compiled to C.

They stay plain Python, and run uncompiled just as well, at about half the speed. The rest is in pyproject.toml.
"""

from __future__ import annotations

import os
from pathlib import Path

from setuptools import setup

HOT = (
    "domain/**/*",
    "engine/partition/view",
    "service/enforcer",
    "state/inspect",
    "state/keys",
    "state/server_row",
    "wire/fast_connection",
    "wire/fast_encoder",
    "wire/records",
    "worker/counters",
    "worker/due_index",
    "worker/header_cache",
    "worker/processor",
    "worker/repository",
    "worker/sweeps",
)
"""Modules below `streams`, as patterns; each must match a file."""


def compiled() -> list[object]:
    """The extension modules."""
    from mypyc.build import mypycify

    found = {pattern: sorted(Path("streams").glob(f"{pattern}.py")) for pattern in HOT}
    if missing := [pattern for pattern, paths in found.items() if not paths]:
        raise FileNotFoundError(f"setup.py: no module in streams is {', '.join(missing)}")
    modules = [str(path) for paths in found.values() for path in paths]
    return mypycify(modules, opt_level="3", debug_level="0")


setup(ext_modules=compiled() if os.environ.get("COMPILE") == "1" else [])
