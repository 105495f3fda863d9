"""The user's folders, where the XDG Base Directory Specification has them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

CACHE_VARIABLE = "TES_CACHE_DIR"
_PRODUCT = "tes"


def state_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The product's own folder in `$XDG_STATE_HOME`, else in `~/.local/state`."""
    return _base(environment.get("XDG_STATE_HOME", ""), Path(".local", "state")) / _PRODUCT


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder that `TES_CACHE_DIR` names, else the product's own in `$XDG_CACHE_HOME` or `~/.cache`."""
    if given := environment.get(CACHE_VARIABLE):
        return Path(given)
    return _base(environment.get("XDG_CACHE_HOME", ""), Path(".cache")) / _PRODUCT


def _base(given: str, fallback: Path) -> Path:
    """A base folder; the specification has a relative one ignored."""
    return Path(given) if Path(given).is_absolute() else Path.home() / fallback
