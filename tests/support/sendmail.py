"""A Sendmail of a test's own, from packages that `scripts/mail_packages` unpacks; it runs as root."""

from __future__ import annotations

import contextlib
import os
import shutil
import smtplib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.certificates import Authority
from tests.support.ports import free_port

MILTER_LINES = Path(__file__).parents[2] / "deploy" / "mta" / "sendmail" / "tes.mc"
MILTER_SOCKET = "/run/tes-edge/milter.sock"
START_SECONDS = 150
"""For a minute it waits for a name of its host with a dot in it, where there is none."""
_UNPACKED = Path(os.environ["TES_CACHE_DIR"]) / "mail" / "sendmail" / "usr"
_PROGRAM = _UNPACKED / "libexec" / "sendmail" / "sendmail"
_MACROS = _UNPACKED / "share" / "sendmail" / "cf"
_CONFIGURATION = """\
divert(0)dnl
VERSIONID(`test')
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `frontend.test.invalid')dnl
define(`confDONT_BLAME_SENDMAIL', `TrustStickyBit,GroupWritableDirPathSafe')dnl
define(`confSERVICE_SWITCH_FILE', `{folder}/service.switch')dnl
define(`confPID_FILE', `{folder}/pid')dnl
define(`STATUS_FILE', `{folder}/status')dnl
define(`QUEUE_DIR', `{folder}/queue')dnl
define(`ALIAS_FILE', `')dnl
define(`confCW_FILE', `-o /dev/null')dnl
define(`confTO_IDENT', `0')dnl
define(`confDELIVERY_MODE', `queueonly')dnl
define(`confCACERT_PATH', `{folder}')dnl
define(`confCACERT', `{authority}')dnl
define(`confSERVER_CERT', `{certificate}')dnl
define(`confSERVER_KEY', `{key}')dnl
FEATURE(`promiscuous_relay')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`no_default_msa')dnl
DAEMON_OPTIONS(`Name=IPv4, Family=inet, Addr=127.0.0.1, Port={port}')dnl
DAEMON_OPTIONS(`Name=IPv6, Family=inet6, Addr=::1, Port={port}')dnl
{milter}
MAILER(`local')dnl
MAILER(`smtp')dnl
"""


class Sendmail:
    """A running instance: its port on 127.0.0.1 and ::1, and the socket where it looks for a milter."""

    def __init__(self, folder: Path, port: int, authority: Authority) -> None:
        self.port, self.authority = port, authority
        self.socket, self._queue = folder / "milter.sock", folder / "queue"

    @property
    def queued(self) -> list[str]:
        """The envelopes and headers of the messages that it accepted."""
        return [path.read_text(encoding="utf-8", errors="replace") for path in self._queue.glob("qf*")]


@contextlib.contextmanager
def running_sendmail() -> Iterator[Sendmail]:
    """A Sendmail that runs, with a certificate of an authority of its own.

    Raises:
        RuntimeError: it is not unpacked, or does not start.
    """
    if not _PROGRAM.exists():
        raise RuntimeError("Sendmail is missing: scripts/mail_packages unpacks it")
    folder = Path(tempfile.mkdtemp(prefix="tes-sendmail-"))
    try:
        sendmail = _configured(folder)
        command = [str(_PROGRAM), "-C", str(folder / "sendmail.cf"), "-bD"]
        if subprocess.run(["unshare", "--uts", "true"], capture_output=True, check=False).returncode == 0:
            command = ["unshare", "--uts", "sh", "-c", 'hostname frontend.test.invalid; exec "$@"', "sh", *command]
        with (
            (folder / "output").open("wb") as output,
            subprocess.Popen(command, stdout=output, stderr=output) as process,
        ):
            try:
                _wait_for(sendmail.port, process, folder / "output")
                yield sendmail
            finally:
                process.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _configured(folder: Path) -> Sendmail:
    (folder / "queue").mkdir()
    (folder / "service.switch").write_text("hosts files\naliases files\n", encoding="utf-8")
    authority, port = Authority(folder), free_port()
    certificate, key = authority.certificate("frontend.test.invalid")
    key.chmod(0o600)
    certificate.chmod(0o600)
    sendmail = Sendmail(folder, port, authority)
    places = {"folder": folder, "authority": authority.file, "certificate": certificate, "key": key}
    milter = MILTER_LINES.read_text(encoding="utf-8").replace(MILTER_SOCKET, str(sendmail.socket))
    text = _CONFIGURATION.format_map(places | {"port": port, "milter": milter})
    (folder / "sendmail.mc").write_text(text, encoding="utf-8")
    command = ["m4", f"-I{_MACROS}/", f"-D_CF_DIR_={_MACROS}/", f"{_MACROS}/m4/cf.m4", str(folder / "sendmail.mc")]
    made = subprocess.run(command, capture_output=True, check=True)
    (folder / "sendmail.cf").write_bytes(made.stdout)
    return sendmail


def _wait_for(port: int, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with smtplib.SMTP("127.0.0.1", port, timeout=START_SECONDS):
                return
        except (OSError, smtplib.SMTPException) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Sendmail does not answer: {output.read_text(errors='replace')}") from error
            time.sleep(0.05)
