"""Builds the product; with COMPILE=1 the modules that run for each connection are compiled to C.

They stay plain Python, and run uncompiled just as well, at about half the speed. The rest is in pyproject.toml.
"""

from __future__ import annotations

import os
from pathlib import Path

from setuptools import setup

HOT = ("streams/agents", "streams/domain")
HOT_MODULES = (
    "adapters/avro_encoder",
    "adapters/projection",
    "adapters/records",
    "adapters/state_codec",
    "engine/view",
)


def compiled() -> list[object]:
    """The extension modules."""
    from mypyc.build import mypycify

    modules = [str(path) for folder in HOT for path in sorted(Path(folder).glob("*.py"))]
    modules += [f"streams/{name}.py" for name in HOT_MODULES]
    return mypycify(modules, opt_level="3", debug_level="0")


setup(ext_modules=compiled() if os.environ.get("COMPILE") == "1" else [])
