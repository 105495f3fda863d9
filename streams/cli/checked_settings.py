"""Settings that are looked at as a worker looks at them when it starts."""

from __future__ import annotations

from streams.cli.messages import print_error
from streams.kafka.security import file_faults
from streams.policies.files import read_policy
from streams.settings.worker import Settings, SettingsError, inspect_settings
from streams.worker.wiring import rulebook_of


def read_checked() -> Settings:
    """The settings, with the policies and files that they name looked at too.

    Raises:
        SettingsError: names everything that is wrong, at once.
    """
    settings, errors = inspect_settings()
    named = {line.partition(":")[0] for line in errors}
    errors += [line for line in file_faults(settings) if line.partition(":")[0] not in named]
    policies = list[str]()
    for name in settings.policies:
        try:
            read_policy(name)
        except (ValueError, OSError) as error:
            policies.append(f"TES_POLICY: {error}")
    if not (errors or policies):
        try:
            rulebook_of(settings)
        except ValueError as error:
            policies.append(f"TES_POLICY: {error}")
    if errors or policies:
        raise SettingsError(*errors, *policies)
    return settings


def checked() -> Settings | None:
    """The settings; None, and what is wrong on standard error, where a worker would refuse them."""
    try:
        return read_checked()
    except ValueError as error:
        print_error("tes", error)
        return None
