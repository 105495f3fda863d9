"""Builds the product; with COMPILE=1 the modules that run for each connection are compiled to C.

They stay plain Python, and run uncompiled just as well, at about half the speed. So are kernels in Cython (`.pyx`),
without which Python does what they do. The rest is in pyproject.toml.
"""

from __future__ import annotations

import os
from pathlib import Path

from setuptools import Extension, find_packages, setup

COMPILED = Path("compiled.txt")
"""The modules below `streams` that are compiled, a pattern a line; each must match a file."""


def compiled() -> list[object]:
    """The extension modules."""
    from mypyc.build import mypycify

    patterns = COMPILED.read_text(encoding="utf-8").split()
    found = {pattern: sorted(Path("streams").glob(f"{pattern}.py")) for pattern in patterns}
    if missing := [pattern for pattern, paths in found.items() if not paths]:
        raise SystemExit(f"{COMPILED}: no module in streams is {', '.join(missing)}")
    modules = [str(path) for paths in found.values() for path in paths]
    return [*mypycify(modules, opt_level="3", debug_level="0"), *kernels()]


def kernels() -> list[object]:
    """The extension modules in Cython: every `.pyx` below `streams`. Their C code is written into `build`."""
    sources = sorted(Path("streams").rglob("*.pyx"))
    if not sources:
        return []
    from Cython.Build import cythonize

    # Relative paths and no debug information: what is made names no folder of this machine.
    extensions = [
        Extension(".".join(path.with_suffix("").parts), [str(path)], extra_compile_args=["-O3", "-g0"])
        for path in sources
    ]
    made: list[object] = cythonize(extensions, build_dir="build", force=True)
    return made


def is_compiled() -> bool:
    """Whether COMPILE asks for compiled modules."""
    value = os.environ.get("COMPILE", "")
    if value not in ("", "0", "1"):
        raise SystemExit(f"COMPILE: {value!r}: must be 0 or 1")
    return value == "1"


setup(
    packages=[*find_packages(include=["streams", "streams.*"]), "streams.schemas"],
    package_dir={"streams.schemas": "schemas"},
    ext_modules=compiled() if is_compiled() else [],
)
