"""Reads policies from YAML: the shipped ones by name, others by path; every error names line, field, value and rule."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import yaml

from streams.domain.exchange.catalogue import Catalogue
from streams.domain.policy.content import PolicyError, check_content
from streams.domain.policy.policy import Policy
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.strict_yaml import load_strictly


def shipped_policies() -> list[str]:
    """The names of the policies that ship with the product."""
    folder = files("streams.policies.data") / "policies"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def read_policy(name_or_path: str, catalogue: Catalogue | None = None) -> Policy:
    """Read a shipped policy by its name, or a YAML file; checked against the built-in catalogue unless one is given.

    Raises:
        PolicyError: there is no such policy or file, or it is malformed.
    """
    if name_or_path in shipped_policies():
        text = (files("streams.policies.data") / "policies" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name_or_path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            known = ", ".join(shipped_policies())
            raise PolicyError([f"{name_or_path}: neither a readable file ({error}) nor one of {known}"]) from None
    return parse_policy(text, name_or_path, catalogue or shipped_catalogue())


def parse_policy(text: str, source: str, catalogue: Catalogue) -> Policy:
    """Read a policy from YAML text; `source` names it in errors.

    Raises:
        PolicyError: with every error found.
    """
    try:
        content, lines = load_strictly(text)
    except yaml.YAMLError as error:
        raise PolicyError([f"{source}: not YAML: {' '.join(str(error).split())[:500]}"]) from None
    return check_content(content, source, lines, catalogue)
