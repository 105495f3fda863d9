"""The build backend: setuptools, which with COMPILE=1 needs what checks the types of the product and compiles it."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What an isolated build installs: to compile, the compiler, and the packages whose types the product uses."""
    # setup.py runs in here; the compiler is not there yet.
    value = os.environ.pop("COMPILE", "")
    try:
        needed = build_meta.get_requires_for_build_wheel(config_settings)
    finally:
        os.environ["COMPILE"] = value
    if value != "1":
        return needed
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    return [*needed, *project["project"]["dependencies"], *project["dependency-groups"]["compile"]]
