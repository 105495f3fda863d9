"""Settings that the environment gives: fields with their variables, read and checked, every fault named at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import urlsplit

REDACTED = "(redacted)"
EDGE_PREFIX = "TES_EDGE_"
"""Of the variables that only an edge reads."""
REPORT_PREFIX = "TES_REPORT_"
"""Of the variables that only the report and the notices read."""
NOTIFY_PREFIX = "TES_NOTIFY_"
"""Of the variables that only the notices read."""
_ADDRESS_SLASHES = 2


class SettingsError(ValueError):
    """Settings that are refused; `errors` has a line for each: variable, value and rule, but never a secret."""

    def __init__(self, *errors: str) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


def setting(variable: str, default: Any, about: str, *, is_secret: bool = False) -> Any:
    """A field with its environment variable; a secret's value is never shown."""
    return field(
        default=default, repr=not is_secret, metadata={"variable": variable, "about": about, "is_secret": is_secret}
    )


@dataclass(frozen=True, slots=True)
class CheckedSettings:
    """Settings of a process: every field is made by `setting`."""

    def __post_init__(self) -> None:
        if faults := list(self.faults()):
            raise SettingsError(*faults)

    def faults(self) -> Iterator[str]:
        """What is wrong with each setting."""
        yield from ()

    def environment(self) -> dict[str, str]:
        """The variables that give another process these settings."""
        return {
            item.metadata["variable"]: ",".join(value) if isinstance(value, tuple) else str(value)
            for item in fields(self)
            if (value := getattr(self, item.name)) != item.default
        }

    def secrets(self) -> list[str]:
        """The values that must be shown nowhere."""
        shown = self.shown()
        values = {item.metadata["variable"]: getattr(self, item.name) for item in fields(self)}
        return [str(value) for variable, value in values.items() if shown[variable] != value]

    def shown(self) -> dict[str, Any]:
        """Variable and value of every setting, secrets redacted."""
        return {
            item.metadata["variable"]: REDACTED
            if item.metadata["is_secret"] and getattr(self, item.name)
            else getattr(self, item.name)
            for item in fields(self)
        }


def fault(settings: CheckedSettings, name: str, rule: str, *, is_shown: bool = True) -> str:
    """The error for a field: variable, value (where it is no secret) and rule."""
    item = next(item for item in fields(settings) if item.name == name)
    value = getattr(settings, name)
    shown = REDACTED if value and (item.metadata["is_secret"] or not is_shown) else repr(value)
    return f"{item.metadata['variable']}: {shown}: {rule}"


def refuse(settings: CheckedSettings, name: str, rule: str) -> SettingsError:
    """The error for a field."""
    return SettingsError(fault(settings, name, rule))


def address_faults(settings: CheckedSettings, name: str, schemes: tuple[str, ...]) -> Iterator[str]:
    """What is wrong with an address: another scheme, no host, or a place in it where secrets are put."""
    text, rule = getattr(settings, name), f"must be an address that begins with {' or '.join(schemes)}://"
    # The text decides, not what a parser makes of it: what is no address can hold a secret as well.
    if "@" in text:
        yield fault(settings, name, "must not contain a user or a password, because it is displayed", is_shown=False)
        return
    if "?" in text or "#" in text:
        yield fault(settings, name, "must not contain a query or a fragment, because it is displayed", is_shown=False)
        return
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_address = False
    if not is_address or not text.isascii() or not text.isprintable() or " " in text:
        yield fault(settings, name, rule)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a host of this name or address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def https_faults(settings: CheckedSettings, name: str) -> Iterator[str]:
    """What is wrong with an address that browsers and tokens are sent to: plain HTTP is for this machine only."""
    faults = list(address_faults(settings, name, ("http", "https")))
    yield from faults
    parts = urlsplit(getattr(settings, name)) if not faults else None
    if parts is not None and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        yield fault(settings, name, "must begin with https://, except on loopback")


def public_url_faults(settings: CheckedSettings, name: str) -> Iterator[str]:
    """What is wrong with the address of API and page as browsers see it, where there is one."""
    if text := getattr(settings, name):
        yield from https_faults(settings, name)
        if text.rstrip("/").count("/") != _ADDRESS_SLASHES:
            yield fault(settings, name, "must have no path")


Settings = TypeVar("Settings", bound=CheckedSettings)


def read(kind: type[Settings], environment: Mapping[str, str], is_other: Callable[[str], bool]) -> Settings:
    """The settings of the environment.

    `is_other` tells the variables of other processes, which may be set as well.

    Raises:
        SettingsError: TES_ variables are unknown, or their values are not of their kind; names all of them.
    """
    settings, errors = inspect(kind, environment, is_other)
    if errors:
        raise SettingsError(*errors)
    return settings


def inspect(
    kind: type[Settings], environment: Mapping[str, str], is_other: Callable[[str], bool]
) -> tuple[Settings, list[str]]:
    """The settings of the environment with all that is wrong with them, so that more can be looked at at once.

    A setting whose value is not of its type has its default.

    Args:
        kind: whose fields name the variables.
        environment: variables with their values.
        is_other: tells the variables of other processes, which may be set as well.
    """
    known = {item.metadata["variable"]: item for item in fields(kind)}
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for variable, text in environment.items():
        if not variable.startswith("TES_") or (variable not in known and is_other(variable)):
            continue
        if variable not in known:
            # The value may be a secret whose variable was misspelt.
            errors[variable] = f"{variable}: unknown setting; known are {', '.join(sorted(known))}"
            continue
        item = known[variable]
        try:
            values[item.name] = _value(item.default, text)
        except (ValueError, KeyError):
            errors[variable] = f"{variable}: {text!r}: must be a value of type {type(item.default).__name__}"
    settings = object.__new__(kind)  # without the check that refuses them
    for item in fields(kind):
        object.__setattr__(settings, item.name, values.get(item.name, item.default))
    # What is said of a setting whose own value could not be read would be said of its default.
    faults = [line for line in settings.faults() if line.partition(":")[0] not in errors]
    return settings, [*errors.values(), *faults]


def variables_of(kind: type[CheckedSettings]) -> frozenset[str]:
    """The variables that settings of this kind are given by."""
    return frozenset(item.metadata["variable"] for item in fields(kind))


def _value(default: Any, text: str) -> Any:
    """The value that a text is, of the default's type.

    Raises:
        ValueError, KeyError: it is none.
    """
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, bool):
        return {"1": True, "true": True, "0": False, "false": False}[text.lower()]
    kind: Any = type(default)
    value = kind(text)
    if kind is float and not math.isfinite(value):
        raise ValueError  # no time can be compared with it, or waited for
    return value
