"""The settings of an edge, typed."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from streams.domain.edge import Limits
from streams.domain.time import HOUR_MS, MINUTE_MS
from streams.settings.addresses import ListenAddress, parse_address
from streams.settings.base import NOTIFY_PREFIX, REPORT_PREFIX, fault, read, setting, variables_of
from streams.settings.folders import state_folder
from streams.settings.registry import RegistrySettings
from streams.settings.worker import Settings

REPORT, ENFORCE = "report", "enforce"
LEAST_SPOOL_BYTES = 1 << 20
MAX_HOST_CHARS = 255
MAX_TIME = 1_000_000


@dataclass(frozen=True, slots=True)
class EdgeSettings(RegistrySettings):
    """The settings of an edge; each can be given by the environment variable named with it."""

    directory: str = setting(
        "TES_EDGE_DIR",
        "",
        "folder of the verdicts and of the events that wait; empty: edge in tes in $XDG_STATE_HOME or ~/.local/state",
    )
    mode: str = setting("TES_EDGE_MODE", REPORT, "report: accept everything and only tell; enforce: delay and refuse")
    add_header: bool = setting("TES_EDGE_ADD_HEADER", False, "whether accepted messages get an X-TES header")
    connectors: str = setting(
        "TES_EDGE_CONNECTORS", "", "YAML file of connectors; empty: those of the topic enforcement.connectors.v1 only"
    )
    milter: str = setting(
        "TES_EDGE_MILTER",
        "unix",
        "where the milter listens, unix:/PATH or inet:HOST:PORT; unix: milter.sock in TES_EDGE_DIR; empty: no milter",
    )
    milter_mode: str = setting("TES_EDGE_MILTER_MODE", "0660", "mode of the milter's UNIX socket, in octal digits")
    http: str = setting(
        "TES_EDGE_HTTP", "", "where the HTTP door listens, HOST:PORT or unix:/PATH; empty: no HTTP door"
    )
    allow_remote: bool = setting(
        "TES_EDGE_ALLOW_REMOTE",
        False,
        "whether doors may listen where other machines can connect; whoever can, may ask and report anything",
    )
    spool_bytes: int = setting("TES_EDGE_SPOOL_BYTES", 1 << 30, "disk for events that wait, in bytes")
    probe_minutes: float = setting(
        "TES_EDGE_PROBE_MINUTES", 5.0, "a refused client shows its headers again after so long"
    )
    block_max_age_hours: float = setting(
        "TES_EDGE_BLOCK_MAX_AGE_HOURS", 24.0, "verdicts that nothing confirmed for so long only delay mail"
    )
    table_max_age_hours: float = setting(
        "TES_EDGE_TABLE_MAX_AGE_HOURS", 72.0, "verdicts that nothing confirmed for so long are not acted on"
    )
    host: str = setting("TES_EDGE_HOST", "", "this machine's name in the ids of events; empty: its host name")
    door_port: int = setting("TES_EDGE_DOOR_PORT", 6067, "port of the door's web server; 0: no web server")
    sync_port: int = setting("TES_EDGE_SYNC_PORT", 6068, "port of sync's web server; 0: no web server")
    web_host: str = setting("TES_EDGE_WEB_HOST", "127.0.0.1", "address of both web servers: probes and metrics")
    log_format: str = setting("TES_LOG_FORMAT", "text", "lines of the edge's logs: text, or json for machines")
    crash_at: str = setting(
        "TES_EDGE_CRASH_AT", "", "tests: kill door or sync at this failpoint; `stored:3` means the third time"
    )

    def faults(self) -> Iterator[str]:
        """What is wrong with each setting."""
        yield from RegistrySettings.faults(self)
        if self.log_format not in ("text", "json"):
            yield fault(self, "log_format", "must be text or json")
        if self.mode not in (REPORT, ENFORCE):
            yield fault(self, "mode", f"must be {REPORT} or {ENFORCE}")
        if not self.milter_mode or self.milter_mode.strip("01234567") or int(self.milter_mode, 8) > 0o777:
            yield fault(self, "milter_mode", "must be octal digits, at most 0777")
        if len(self.host) > MAX_HOST_CHARS or not self.host.isascii() or not self.host.isprintable():
            yield fault(self, "host", f"must be at most {MAX_HOST_CHARS} printable ASCII characters")
        if self.spool_bytes < LEAST_SPOOL_BYTES:
            yield fault(self, "spool_bytes", f"must be at least {LEAST_SPOOL_BYTES}")
        yield from self._time_faults()
        yield from self._address_faults()

    def _time_faults(self) -> Iterator[str]:
        for name in ("probe_minutes", "block_max_age_hours", "table_max_age_hours"):
            if not 0 < getattr(self, name) <= MAX_TIME:
                yield fault(self, name, f"must be above 0, and at most {MAX_TIME}")
        if self.table_max_age_hours < self.block_max_age_hours:
            rule = f"must be at least TES_EDGE_BLOCK_MAX_AGE_HOURS, {self.block_max_age_hours:g}"
            yield fault(self, "table_max_age_hours", rule)

    def _address_faults(self) -> Iterator[str]:
        for name, port in (("door_port", self.door_port), ("sync_port", self.sync_port)):
            if not 0 <= port <= 65535:
                yield fault(self, name, "must be a port, 0 to 65535")
        if self.door_port and self.door_port == self.sync_port:
            yield fault(self, "sync_port", "must be another port than TES_EDGE_DOOR_PORT")
        for name in ("milter", "http"):
            try:
                address: ListenAddress | None = getattr(self, f"{name}_address")
            except ValueError as error:
                yield fault(self, name, str(error))
                continue
            if address is not None and not address.is_local and not self.allow_remote:
                rule = "must be an address of this machine only, because the door asks nobody who they are"
                yield fault(self, name, f"{rule}; to listen there all the same, set TES_EDGE_ALLOW_REMOTE=1")

    @property
    def folder(self) -> Path:
        """Where the edge's files are."""
        return Path(self.directory) if self.directory else state_folder() / "edge"

    @property
    def is_enforcing(self) -> bool:
        """Whether mail is delayed and refused."""
        return self.mode == ENFORCE

    @property
    def milter_address(self) -> ListenAddress | None:
        """Where the milter listens; None for nowhere.

        Raises:
            ValueError: it is no address; the message is the rule.
        """
        text = f"unix:{self.folder.absolute() / 'milter.sock'}" if self.milter == "unix" else self.milter
        return parse_address(text) if text else None

    @property
    def http_address(self) -> ListenAddress | None:
        """Where the HTTP door listens; None for nowhere.

        Raises:
            ValueError: it is no address; the message is the rule.
        """
        return parse_address(self.http) if self.http else None

    @property
    def limits(self) -> Limits:
        """How long what is known is believed."""
        return Limits(
            block_max_age=round(self.block_max_age_hours * HOUR_MS),
            table_max_age=round(self.table_max_age_hours * HOUR_MS),
            probe=round(self.probe_minutes * MINUTE_MS),
        )

    @property
    def host_name(self) -> str:
        """This machine's name in the ids of events."""
        return self.host or socket.gethostname()


def read_edge_settings(environment: Mapping[str, str] = os.environ) -> EdgeSettings:
    """The settings of the environment; those of other parts may be set as well.

    Raises:
        SettingsError: TES_ variables are unknown, or their values are not of their kind; names all of them.
    """
    return read(EdgeSettings, environment, _is_of_another_part)


def _is_of_another_part(variable: str) -> bool:
    return variable.startswith((NOTIFY_PREFIX, REPORT_PREFIX)) or variable in variables_of(Settings)
