"""The settings of a worker and of the operators' commands, typed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.domain.outputs.replies import service_faults
from streams.domain.policy.rulebook import Service
from streams.settings.base import (
    EDGE_PREFIX,
    NOTIFY_PREFIX,
    REPORT_PREFIX,
    SettingsError,
    address_faults,
    fault,
    inspect,
    read,
)
from streams.settings.base import setting as _setting
from streams.settings.folders import CACHE_VARIABLE, state_folder
from streams.settings.registry import RegistrySettings

__all__ = ["DEFAULT_POLICY", "Settings", "SettingsError", "read_settings"]

DEFAULT_POLICY: Final = "microsoft-2026-09"
_LEAST = {
    "partitions": 1,
    "replication": 1,
    "batch_records": 1,
    "gather_seconds": 0,
    "web_port": 0,
    "state_cache_bytes": 256 << 10,
}
"""The least values of settings. In a smaller cache RocksDB finds no place for a few blocks."""


@dataclass(frozen=True, slots=True)
class Settings(RegistrySettings):
    """The settings of a worker; each can be given by the environment variable named with it."""

    app_id: str = _setting("TES_APP_ID", "tes", "consumer group, and prefix of changelog and transactional ids")
    partitions: int = _setting("TES_PARTITIONS", 4, "partitions of the topics that `tes topics create` makes")
    replication: int = _setting("TES_REPLICATION", 1, "replication factor of these topics")
    state_dir: str = _setting(
        "TES_STATE_DIR",
        "",
        "folder of the RocksDB state, safe to delete at any time; empty: tes in $XDG_STATE_HOME or ~/.local/state",
    )
    cache_dir: str = _setting(
        CACHE_VARIABLE,
        "",
        "folder of what the embedded Kafka is made from; empty: tes in $XDG_CACHE_HOME or ~/.cache",
    )
    state_cache_bytes: int = _setting(
        "TES_STATE_CACHE_BYTES", 128 << 20, "memory of RocksDB over all partitions of the worker: blocks, write buffers"
    )
    cached_servers: int = _setting(
        "TES_CACHED_SERVERS",
        320_000,
        "servers kept in memory over all TES_PARTITIONS, an equal part for each: 2.9 KB a server, in bytes",
    )
    policies: tuple[str, ...] = _setting(
        "TES_POLICY", (DEFAULT_POLICY,), "shipped policies or YAML files, joined by commas"
    )
    service_name: str = _setting("TES_SERVICE_NAME", "Exchange Online", "the service's name in SMTP replies")
    service_link: str = _setting(
        "TES_SERVICE_LINK", "https://aka.ms/BlockUnsafeExchange", "link for administrators in SMTP replies"
    )
    batch_records: int = _setting("TES_BATCH_RECORDS", 10_000, "maximum number of records per fetched batch")
    gather_seconds: float = _setting(
        "TES_GATHER_SECONDS",
        1.0,
        "how long a unit of work gathers connections while there is a backlog, and no longer than they have waited",
    )
    tick_seconds: float = _setting("TES_TICK_SECONDS", 1.0, "maximum interval between two checks for due timers")
    session_timeout_seconds: float = _setting(
        "TES_SESSION_TIMEOUT_SECONDS", 10.0, "session timeout: a silent worker loses its partitions after it"
    )
    stall_seconds: float = _setting(
        "TES_STALL_SECONDS", 60.0, "a partition with work but no progress for this long stops the worker"
    )
    accept_gaps: bool = _setting(
        "TES_ACCEPT_GAPS",
        False,
        "continue if input records were deleted before they were read; otherwise the worker refuses to start",
    )
    instance_id: str = _setting("TES_INSTANCE_ID", "", "static group membership; empty: none")
    log_format: str = _setting("TES_LOG_FORMAT", "text", "lines of the worker's log: text, or json for machines")
    web_host: str = _setting("TES_WEB_HOST", "127.0.0.1", "address of the web server")
    web_port: int = _setting("TES_WEB_PORT", 6066, "port of the web server; 0: no web server")
    traces_endpoint: str = _setting(
        "TES_TRACES_ENDPOINT", "", "where traces go, like http://collector:4318/v1/traces; empty: traces are off"
    )
    replay_until: str = _setting(
        "TES_REPLAY_UNTIL",
        "",
        "replay: this time replaces the wall clock, and the worker exits at the end of its input",
    )
    crash_at: str = _setting(
        "TES_CRASH_AT", "", "tests: kill the worker at this failpoint; `committed:3` means the third time"
    )

    def faults(self) -> Iterator[str]:
        """What is wrong with each setting."""
        yield from RegistrySettings.faults(self)
        if self.traces_endpoint:
            yield from address_faults(self, "traces_endpoint", ("http", "https"))
        for name, low in _LEAST.items():
            if getattr(self, name) < low:
                yield fault(self, name, f"must be at least {low}")
        if self.web_port > 65535:
            yield fault(self, "web_port", "must be at most 65535")
        if self.cached_servers < self.partitions:
            yield fault(self, "cached_servers", f"must be at least TES_PARTITIONS, {self.partitions}")
        if self.log_format not in ("text", "json"):
            yield fault(self, "log_format", "must be text or json")
        if self.tick_seconds <= 0:
            yield fault(self, "tick_seconds", "must be above 0")
        if self.session_timeout_seconds < 6:
            yield fault(self, "session_timeout_seconds", "must be at least 6")
        for field, rule in service_faults(Service(self.service_name, self.service_link)):
            yield fault(self, f"service_{field}", rule)

    @property
    def cached_servers_of_partition(self) -> int:
        """How many of the cached servers are one partition's."""
        return self.cached_servers // self.partitions

    @property
    def state_path(self) -> Path:
        """The folder of this application's state."""
        return (Path(self.state_dir) if self.state_dir else state_folder()) / self.app_id

    @property
    def changelog(self) -> str:
        """The topic that holds the state."""
        return f"{self.topic_prefix}{self.app_id}-state-changelog"


def _is_of_another_part(variable: str) -> bool:
    return variable.startswith((EDGE_PREFIX, NOTIFY_PREFIX, REPORT_PREFIX))


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the environment.

    Raises:
        SettingsError: TES_ variables are unknown, or their values are not of their kind; names all of them.
    """
    return read(Settings, environment, _is_of_another_part)


def inspect_settings(environment: Mapping[str, str] = os.environ) -> tuple[Settings, list[str]]:
    """The settings of the environment with all that is wrong with them, so that more can be looked at at once.

    A setting whose value is not of its type has its default.
    """
    return inspect(Settings, environment, _is_of_another_part)
