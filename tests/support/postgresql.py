"""A PostgreSQL of Debian's package, in a folder of its own and on a UNIX socket there."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

SECONDS = 60.0
ROLE = "report"
_USER = "nobody"


class PostgreSql:
    """A server that runs, or was killed and is started again."""

    def __init__(self, folder: Path, binaries: Path, *, is_durable: bool) -> None:
        self.folder, self.binaries = folder, binaries
        self._settings = [] if is_durable else ["-c", "fsync=off", "-c", "full_page_writes=off"]
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make the cluster."""
        place = ["-D", str(self.folder / "data")]
        self._run("initdb", *place, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")

    def start(self) -> None:
        """Start it, and wait until it lets clients in."""
        command = ["postgres", "-D", str(self.folder / "data"), "-k", str(self.folder), "-c", "listen_addresses="]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._as_user([*command, "-c", "max_connections=200", *self._settings]), stdout=log, stderr=log
            )
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres", "postgres")).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text("utf-8", "replace")[-2000:]) from None
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it; SIGINT does not wait for its clients, SIGQUIT leaves it to recover."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(SECONDS)
            self._process = None

    @property
    def pid(self) -> int:
        """Of the server."""
        if self._process is None:
            raise RuntimeError("does not run")
        return self._process.pid

    def url(self, database: str, role: str = ROLE) -> str:
        """Where a database is."""
        return f"postgresql://{role}@/{database}?host={self.folder}"

    def make_database(self) -> str:
        """The address of a new database, whose owner is no superuser: row-level security holds for it."""
        name = f"t{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchone() is None:
                connection.execute(f"CREATE ROLE {ROLE} LOGIN")
            connection.execute(f"CREATE DATABASE {name} OWNER {ROLE}")
        return self.url(name)

    def _run(self, *command: str) -> None:
        done = subprocess.run(self._as_user(list(command)), capture_output=True, check=False, cwd="/")
        if done.returncode:
            raise RuntimeError(done.stderr.decode())

    def _as_user(self, command: list[str]) -> list[str]:
        command = [str(self.binaries / command[0]), *command[1:]]
        if os.getuid():
            return command
        user = pwd.getpwnam(_USER)
        # It ends with the tests, also where these are killed.
        rights = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig=INT"]
        return ["setpriv", *rights, *command]


@contextmanager
def running_postgresql(*, is_durable: bool = False) -> Iterator[PostgreSql]:
    """Run a server meanwhile; it refuses root, so as root it runs as nobody."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not found:
        raise RuntimeError("PostgreSQL is missing: scripts/database_packages")
    folder = Path(tempfile.mkdtemp(prefix="tes-postgresql-"))
    if not os.getuid():
        user = pwd.getpwnam(_USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
    server = PostgreSql(folder, found[-1], is_durable=is_durable)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
