"""A copy that the page on the report describes has every row, also behind the fence between tenants."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from streams.database.database import Database
from streams.database.sqlite import POINTER
from streams.report.model.batch import AUDIT, NOTIFICATIONS, SERVERS, VERDICTS
from streams.report.store.opening import open_database
from streams.report.store.writer import Writer
from streams.settings.report import ReportSettings
from tests.support.postgresql import PostgreSql
from tests.support.report import (
    audit_record,
    batch_of,
    model_of,
    notification_record,
    read_of,
    report_record,
    verdict_record,
)

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "report.md"


def write(database: Database, first: int) -> None:
    """Write records of two tenants and every topic."""
    reads = []
    for number in range(first, first + 4):
        tenant, server = f"t{number % 2}", f"mx{number}.example.com"
        reads += [
            read_of(SERVERS, number, report_record(server, tenant_id=tenant)),
            read_of(VERDICTS, number, verdict_record(server, tenant_id=tenant)),
            read_of(NOTIFICATIONS, number, notification_record(number, tenant_id=tenant)),
            read_of(AUDIT, number, audit_record(number, tenant_id=tenant)),
        ]
    Writer(database, lambda _: None).write(batch_of(reads))


def test_a_copy_of_the_file_takes_its_place(tmp_path: Path) -> None:
    folder, killed = tmp_path / "report", tmp_path / "killed"
    database = open_database(ReportSettings(directory=str(folder)))
    database.migrate()
    write(database, 0)
    wanted = model_of(database)
    name = (folder / POINTER).read_text().strip()
    with closing(sqlite3.connect(folder / name)) as connection:
        connection.execute(f"VACUUM INTO '{tmp_path / 'copy.db'}'")
    write(database, 4)
    assert model_of(database) != wanted
    # Of a process that was killed the write-ahead log stays behind.
    shutil.copytree(folder, killed)
    database.close()
    for beside in ("-wal", "-shm"):
        (killed / f"{name}{beside}").unlink()
    shutil.copy(tmp_path / "copy.db", killed / name)
    restored = open_database(ReportSettings(directory=str(killed)))
    restored.migrate()
    assert model_of(restored) == wanted
    write(restored, 4)
    restored.close()


def commands_of_the_page(database: str, folder: Path) -> dict[str, str]:
    """The commands of PostgreSQL by their programs, for this database and folder."""
    lines = re.findall(
        r"^    (?:runuser -u postgres -- )?((pg_dump|pg_restore|psql) [^#\n]*)", PAGE.read_text(), re.MULTILINE
    )
    found = {program: line.replace("/backups", str(folder)) for line, program in lines}
    return {
        program: re.sub(r"(--dbname=|report\.dump )tes\b", rf"\g<1>{database}", line) for program, line in found.items()
    }


@pytest.mark.database
def test_a_dump_has_the_rows_of_all_tenants(postgresql: PostgreSql, tmp_path: Path) -> None:
    address = postgresql.make_database()
    name = psycopg.conninfo.conninfo_to_dict(address)["dbname"]
    database = open_database(ReportSettings(database=address))
    database.migrate()
    write(database, 0)
    wanted = model_of(database)
    commands = commands_of_the_page(str(name), tmp_path)
    assert set(commands) == {"pg_dump", "psql", "pg_restore"}
    environment = os.environ | {"PGHOST": str(postgresql.folder), "PGUSER": "postgres"}
    environment["PATH"] = f"{postgresql.binaries}:{os.environ['PATH']}"

    def run(program: str) -> None:
        done = subprocess.run(
            ["bash", "-c", commands[program]], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    run("pg_dump")
    write(database, 4)
    database.close()
    run("psql")
    run("pg_restore")
    restored = open_database(ReportSettings(database=address))
    restored.migrate()
    assert model_of(restored) == wanted
    # It goes on from the offsets of the copy, and may be replaced by a rebuild.
    write(restored, 4)
    restored.replace(restored.fresh())
    restored.close()
