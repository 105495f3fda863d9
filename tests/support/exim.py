"""An Exim of a test's own, with the ACLs that `deploy/mta/exim` has.

Its daemon must run as root. `scripts/mail_packages` brings the program, unpacked, for Postfix is installed.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import smtplib
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.deploy.manifests import REPOSITORY
from tests.support.ports import free_port

ACLS = REPOSITORY / "deploy" / "mta" / "exim" / "tes_acl.conf"
START_SECONDS = 30

_CONFIGURATION = """\
exim_user = {user}
exim_group = {user}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%s
primary_hostname = frontend.test.invalid
queue_only
acl_smtp_rcpt = accept
acl_smtp_mail = acl_check_mail
acl_smtp_data = acl_check_data
keep_environment =
{settings}
TES_DOOR = inet:127.0.0.1:{door}

begin acl

.include {acls}

acl_check_mail:
  require acl = acl_tes_mail
  accept

acl_check_data:
  require acl = acl_tes_data
  accept
"""


class Exim:
    """A daemon that runs: `port` is its own, `door` the port at which it expects the HTTP door."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        """Start one; `settings` are lines of its main section, beside the usual ones."""
        self.port, self.door = free_port(), free_port()
        # Not below pytest's own folder, which only root may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="tes-exim-"))
        self.folder.chmod(0o755)
        user = pwd.getpwnam("Debian-exim")
        for name in ("spool", "log"):
            (self.folder / name).mkdir()
            os.chown(self.folder / name, user.pw_uid, user.pw_gid)
        given = "".join(f"{name} = {value}\n" for name, value in (settings or {"tls_advertise_hosts": ""}).items())
        text = _CONFIGURATION.format(user=user.pw_name, folder=self.folder, settings=given, door=self.door, acls=ACLS)
        configuration = self.folder / "exim.conf"
        configuration.write_text(text, encoding="utf-8")
        command = [_program(), "-C", str(configuration), "-bdf", "-oX", f"127.0.0.1.{self.port}"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._await()

    def close(self) -> None:
        """End it, and remove its folder."""
        self._process.terminate()
        self._process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def queued(self) -> list[str]:
        """The headers of the messages in its queue, as they will be sent."""
        return [path.read_text("utf-8", "replace") for path in sorted(self.folder.glob("spool/input/**/*-H"))]

    @property
    def log(self) -> str:
        """What it logged so far."""
        return "".join(path.read_text("utf-8", "replace") for path in sorted((self.folder / "log").iterdir()))

    def _await(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with smtplib.SMTP("127.0.0.1", self.port, timeout=START_SECONDS):
                    return
            except (OSError, smtplib.SMTPException):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._process.kill()
                    _, said = self._process.communicate()
                    raise RuntimeError(f"Exim does not run: {said.decode(errors='replace')} {self.log}") from None
                time.sleep(0.02)


@contextlib.contextmanager
def running_exim(settings: Mapping[str, str] | None = None) -> Iterator[Exim]:
    """An Exim that runs.

    Raises:
        RuntimeError: it is not there, or this process is not root's.
    """
    if os.geteuid() != 0:
        raise RuntimeError("Exim can only be started by root: run these tests as root, in a container for example")
    exim = Exim(settings)
    try:
        yield exim
    finally:
        exim.close()


def _program() -> str:
    cache = Path(os.environ.get("TES_CACHE_DIR", REPOSITORY / ".cache"))
    program = cache / "mail" / "exim" / "usr" / "sbin" / "exim4"
    if not program.exists():
        raise RuntimeError("Exim is missing: scripts/mail_packages brings it")
    return str(program)
