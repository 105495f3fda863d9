"""The settings that say where the tables of the report and of the notices are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streams.settings.base import fault, setting
from streams.settings.folders import state_folder
from streams.settings.registry import RegistrySettings

POSTGRESQL = "postgresql://"
# A password may hold anything but an @.
_ADDRESS = re.compile(POSTGRESQL + r"(?:[^@]*@)?(?:\[[^]/?]*\]|[^][/:?]*)(?::([0-9]{0,6}))?(?:[/?].*)?")
_OF_OTHERS = ("public", "information_schema")


@dataclass(frozen=True, slots=True)
class DatabaseSettings(RegistrySettings):
    """The address of the database, or the folder of its files; beside where Kafka and its registry are."""

    database: str = setting(
        "TES_REPORT_DATABASE",
        "",
        "postgresql://USER:PASSWORD@HOST/DATABASE; empty: SQLite files in TES_REPORT_DIR",
        is_secret=True,
    )
    database_file: str = setting("TES_REPORT_DATABASE_FILE", "", "the file that holds this address, read at the start")
    schema: str = setting("TES_REPORT_SCHEMA", "tes_report", "PostgreSQL: the schema of the report's tables")
    allow_unfenced: bool = setting(
        "TES_REPORT_ALLOW_UNFENCED",
        False,
        "PostgreSQL: allow a superuser or a role with BYPASSRLS, for which no fence between tenants holds",
    )
    directory: str = setting(
        "TES_REPORT_DIR", "", "folder of the SQLite files; empty: report in tes in $XDG_STATE_HOME or ~/.local/state"
    )

    def faults(self) -> Iterator[str]:
        """What is wrong with each setting."""
        yield from RegistrySettings.faults(self)
        if self.database:
            yield from _database_faults(self)
            if self.database_file:
                yield fault(self, "database_file", "must be empty if TES_REPORT_DATABASE is set")
        if not self.schema.isidentifier() or not self.schema.isascii() or not self.schema.islower():
            yield fault(self, "schema", "must be a lower-case name of letters, digits and underscores")
        elif len(self.schema) > 50:
            yield fault(self, "schema", "must be at most 50 characters")
        elif self.schema in _OF_OTHERS or self.schema.startswith("pg_"):
            yield fault(self, "schema", "must be a schema that is only the report's: a rebuild deletes it")

    def secret_files(self) -> tuple[str, ...]:
        """See `RegistrySettings`."""
        return *RegistrySettings.secret_files(self), self.database_file

    @property
    def folder(self) -> Path:
        """Where the SQLite files are."""
        return Path(self.directory) if self.directory else state_folder() / "report"


def _database_faults(settings: DatabaseSettings) -> Iterator[str]:
    if not settings.database.startswith(POSTGRESQL):
        yield fault(settings, "database", f"must begin with {POSTGRESQL}")
        return
    address = _ADDRESS.fullmatch(settings.database)
    if address is None:
        yield fault(settings, "database", f"must be an address such as {POSTGRESQL}USER:PASSWORD@HOST:PORT/DATABASE")
    elif address[1] and not 1 <= int(address[1]) <= 65535:
        yield fault(settings, "database", "must have a port from 1 to 65535, or none")
