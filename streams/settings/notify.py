"""The settings of the process that tells people, typed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from streams.settings.base import EDGE_PREFIX, REPORT_PREFIX, address_faults, fault, read, setting, variables_of
from streams.settings.database import DatabaseSettings
from streams.settings.worker import Settings

LEAST_DAYS, MOST_DAYS = 8, 4000
MOST_GROUP = 100
MOST_IN_FLIGHT = 10_000


@dataclass(frozen=True, slots=True)
class NotifySettings(DatabaseSettings):
    """The settings of `tes notify`; each can be given by the environment variable named with it."""

    port: int = setting("TES_NOTIFY_PORT", 6071, "port of the web server for probes and metrics; 0: no web server")
    web_host: str = setting("TES_NOTIFY_WEB_HOST", "127.0.0.1", "address of this web server")
    group_above: int = setting(
        "TES_NOTIFY_GROUP_ABOVE", 5, "more notices than these that wait for a destination go to it as one digest"
    )
    in_flight: int = setting("TES_NOTIFY_IN_FLIGHT", 1000, "how many destinations are sent to at once")
    history_days: int = setting("TES_NOTIFY_HISTORY_DAYS", 90, "how long it is kept what became of notices, in days")
    topic_prefix: str = setting("TES_TOPIC_PREFIX", "", "prefix of every topic name")
    schema_registry_url: str = setting(
        "TES_SCHEMA_REGISTRY_URL", "", "Confluent-compatible registry; empty: the registry file that ships"
    )
    log_format: str = setting("TES_LOG_FORMAT", "text", "lines of the log: text, or json for machines")
    crash_at: str = setting(
        "TES_NOTIFY_CRASH_AT", "", "tests: kill the process at this failpoint; `sent:3` means the third time"
    )

    def faults(self) -> Iterator[str]:
        """What is wrong with each setting."""
        yield from DatabaseSettings.faults(self)
        if self.schema_registry_url:
            yield from address_faults(self, "schema_registry_url", ("http", "https"))
        if self.log_format not in ("text", "json"):
            yield fault(self, "log_format", "must be text or json")
        if not 0 <= self.port <= 65535:
            yield fault(self, "port", "must be a port, 0 to 65535")
        for name, least, most in (
            ("group_above", 1, MOST_GROUP),
            ("in_flight", 1, MOST_IN_FLIGHT),
            ("history_days", LEAST_DAYS, MOST_DAYS),
        ):
            if not least <= getattr(self, name) <= most:
                yield fault(self, name, f"must be from {least} to {most}")

    def topic(self, name: str) -> str:
        """The name of a topic on this cluster."""
        return self.topic_prefix + name


def read_notify_settings(environment: Mapping[str, str] = os.environ) -> NotifySettings:
    """The settings of the environment; those of other parts may be set as well.

    Raises:
        SettingsError: TES_ variables are unknown, or their values are not of their kind; names all of them.
    """
    return read(NotifySettings, environment, _is_of_another_part)


def _is_of_another_part(variable: str) -> bool:
    return variable.startswith((EDGE_PREFIX, REPORT_PREFIX)) or variable in variables_of(Settings)
