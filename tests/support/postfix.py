"""A Postfix of a test's own: nothing of the machine's is touched, and no port but free ones of loopback is used.

Its master must run as root. `scripts/mail_packages` installs the program.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import smtplib
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.ports import free_port

INBOX = "inbox.example"
"""Mail to this domain is kept in `Postfix.inbox`; all other mail is discarded."""
START_SECONDS = 30
MILTER = "unix:%s, connect_timeout=2s, command_timeout=2s, content_timeout=2s, default_action=accept"
"""As the product's documents tell."""

# A milter that rejects would cost a second for each message with `in_flow_delay`; the tables of Debian's package are in
# /etc/postfix; and "-" in the column chroot would mean yes with an older compatibility level.
_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
meta_directory = /etc/postfix
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = /var, /dev/stdout, {folder}
mail_owner = postfix
setgid_group = postdrop
myhostname = frontend.test.invalid
mydestination =
mynetworks = 0.0.0.0/0 [::]/0
inet_interfaces = loopback-only
inet_protocols = all
hopcount_limit = 20000
alias_maps =
alias_database =
smtpd_peername_lookup = no
disable_dns_lookups = yes
local_transport = discard:
default_transport = discard:
relay_transport = discard:
relay_domains =
local_recipient_maps =
virtual_transport = virtual
virtual_mailbox_domains = {inbox}
virtual_mailbox_maps = static:inbox/
virtual_mailbox_base = {folder}/mail
virtual_minimum_uid = 1
virtual_uid_maps = static:{nobody}
virtual_gid_maps = static:{nogroup}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = permit
notify_classes =
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
"""
_MASTER = """\
pickup    unix  n  -  n  60     1  pickup
cleanup   unix  n  -  n  -      0  cleanup
qmgr      unix  n  -  n  300    1  qmgr
rewrite   unix  -  -  n  -      -  trivial-rewrite
bounce    unix  -  -  n  -      0  bounce
defer     unix  -  -  n  -      0  bounce
trace     unix  -  -  n  -      0  bounce
verify    unix  -  -  n  -      1  verify
proxymap  unix  -  -  n  -      -  proxymap
flush     unix  n  -  n  1000?  0  flush
showq     unix  n  -  n  -      -  showq
error     unix  -  -  n  -      -  error
retry     unix  -  -  n  -      -  error
discard   unix  -  -  n  -      -  discard
lmtp      unix  -  -  n  -      -  lmtp
smtp      unix  -  -  n  -      -  smtp
virtual   unix  -  n  n  -      -  virtual
anvil     unix  -  -  n  -      1  anvil
tlsmgr    unix  -  -  n  1000?  1  tlsmgr
postlog   unix-dgram n - n -    1  postlogd
"""


class Postfix:
    """A running instance; every listener of it has settings of its own."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        """Prepare one; `settings` of main.cf stand beside or in place of the usual ones."""
        # Not below pytest's own folder, which only root may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="tes-postfix-"))
        self.folder.chmod(0o755)
        self._etc = self.folder / "etc"
        for name in ("etc", "spool", "data", "log", "mail", "sockets"):
            (self.folder / name).mkdir(mode=0o755)
        mail = pwd.getpwnam("postfix")
        nobody = pwd.getpwnam("nobody")
        os.chown(self.folder / "data", mail.pw_uid, -1)
        os.chown(self.folder / "mail", nobody.pw_uid, nobody.pw_gid)
        main = _MAIN.format(folder=self.folder, inbox=INBOX, nobody=nobody.pw_uid, nogroup=nobody.pw_gid)
        lines = dict(line.split(" =", 1) for line in main.splitlines())
        lines |= {name: f" {value}" for name, value in (settings or {}).items()}
        text = "".join(f"{name} ={value}\n" for name, value in lines.items())
        (self._etc / "main.cf").write_text(text, encoding="utf-8")
        (self._etc / "master.cf").write_text(_MASTER, encoding="utf-8")

    def __enter__(self) -> Self:
        try:
            self.control("check")
            self.control("start")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop it, and remove its folder."""
        with contextlib.suppress(RuntimeError):
            self.control("stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def control(self, verb: str) -> None:
        """Run `postfix VERB`.

        Raises:
            RuntimeError: it failed; the message has what it said.
        """
        done = subprocess.run([_program("postfix"), "-c", str(self._etc), verb], capture_output=True, check=False)
        if done.returncode:
            said = done.stderr.decode(errors="replace")
            raise RuntimeError(f"postfix {verb} ended with {done.returncode}: {said} {self.log}")

    def listen(self, milter: Path | str | None = None, chroot: str = "n", **settings: str) -> int:
        """Open one more port, with a milter's socket and settings of its own; returns the port when it answers.

        `chroot` is y or n, as in master.cf.
        """
        port = free_port()
        given = dict(settings)
        if milter is not None:
            given["smtpd_milters"] = f"{{ {MILTER % milter} }}"
        options = "".join(f" -o {{ {name} = {value} }}" for name, value in given.items())
        with (self._etc / "master.cf").open("a", encoding="utf-8") as file:
            file.write(f"127.0.0.1:{port} inet n - {chroot} - 100 smtpd{options}\n")
        self.control("reload")
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                # A milter that hangs keeps the greeting back for its timeout.
                with smtplib.SMTP("127.0.0.1", port, timeout=START_SECONDS):
                    return port
            except (OSError, smtplib.SMTPException):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def default_of(self, setting: str) -> str | None:
        """The default of a setting; None where Postfix does not know it."""
        done = subprocess.run([_program("postconf"), "-d", setting], capture_output=True, text=True, check=True)
        return done.stdout.partition("=")[2].strip() if "=" in done.stdout else None

    def flush(self) -> None:
        """Try to deliver now what waits in the queue."""
        self._postqueue("-f")

    @property
    def queued(self) -> list[dict[str, Any]]:
        """The messages that wait, with their recipients and why those were delayed."""
        return [json.loads(line) for line in self._postqueue("-j").splitlines()]

    def _postqueue(self, *options: str) -> bytes:
        command = [_program("postqueue"), "-c", str(self._etc), *options]
        return subprocess.run(command, capture_output=True, check=True).stdout

    @property
    def log(self) -> str:
        """What it logged so far."""
        path = self.folder / "log" / "mail.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    @property
    def inbox(self) -> list[bytes]:
        """The messages that were delivered to `INBOX`, in no order."""
        folder = self.folder / "mail" / "inbox" / "new"
        return [path.read_bytes() for path in folder.iterdir()] if folder.exists() else []


@contextlib.contextmanager
def running_postfix(settings: Mapping[str, str] | None = None) -> Iterator[Postfix]:
    """A Postfix that runs.

    Raises:
        RuntimeError: it is not installed, or this process is not root's.
    """
    if os.geteuid() != 0:
        raise RuntimeError("Postfix can only be started by root: run these tests as root, in a container for example")
    _program("postfix")
    with Postfix(settings) as postfix:
        yield postfix


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise RuntimeError(f"{name} is missing: scripts/mail_packages installs it")
    return found
