"""An rspamd of a test's own, with no rule but that of `deploy/mta/rspamd`.

`scripts/mail_packages` installs the program.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.deploy.manifests import REPOSITORY
from tests.support.ports import free_port

RULE = REPOSITORY / "deploy" / "mta" / "rspamd" / "tes.lua"
SECONDS = 60

# Without Hyperscan and the public list of domains it starts at once.
_CONFIGURATION = """\
options {{
  pidfile = "{folder}/rspamd.pid";
  filters = "";
  dns {{ nameserver = ["127.0.0.1:1"]; }}
  url_tld = "{folder}/domains";
  disable_hyperscan = true;
  history_rows = 1;
}}
logging {{ type = "file"; filename = "{folder}/rspamd.log"; level = "info"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
worker "rspamd_proxy" {{
  bind_socket = "{folder}/milter.sock mode=0666";
  count = 1;
  milter = yes;
  upstream "local" {{ self_scan = yes; default = yes; }}
}}
actions {{ reject = 1000; }}
tes_edge {{ url = "http://127.0.0.1:{door}/v1/decide"; }}
lua = "{rule}";
"""


class Rspamd:
    """A daemon that runs: `milter` is its socket, and `door` the port at which it expects the HTTP door."""

    def __init__(self) -> None:
        self._port, self.door = free_port(), free_port()
        # Not below pytest's own folder, which only root may enter.
        self._folder = Path(tempfile.mkdtemp(prefix="tes-rspamd-"))
        self._folder.chmod(0o755)
        self.milter = self._folder / "milter.sock"
        (self._folder / "domains").write_text("com\nexample\n")
        configuration = self._folder / "rspamd.conf"
        text = _CONFIGURATION.format(folder=self._folder, port=self._port, door=self.door, rule=RULE)
        configuration.write_text(text, encoding="utf-8")
        places = [f"--var={name}={self._folder}" for name in ("DBDIR", "RUNDIR", "LOGDIR", "CONFDIR", "LOCAL_CONFDIR")]
        command = [_program(), "-f", "-i", "-c", str(configuration), *places]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._await()

    def close(self) -> None:
        """End it, and remove its folder."""
        self._process.terminate()
        self._process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)

    def check(self, message: bytes, **headers: str) -> dict[str, Any]:
        """What it says of a message over HTTP; `headers` tell of the client, as `Helo`."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request("POST", "/checkv2", message, headers)
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found

    @property
    def log(self) -> str:
        """What it logged so far."""
        path = self._folder / "rspamd.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def _await(self) -> None:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SECONDS)
                with contextlib.closing(connection):
                    connection.request("GET", "/ping")
                    if connection.getresponse().read().startswith(b"pong") and self.milter.exists():
                        return
            except (OSError, http.client.HTTPException):
                pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                _, said = self._process.communicate()
                raise RuntimeError(f"rspamd does not run: {said.decode(errors='replace')} {self.log}")
            time.sleep(0.02)


@contextlib.contextmanager
def running_rspamd() -> Iterator[Rspamd]:
    """An rspamd that runs.

    Raises:
        RuntimeError: it is not installed.
    """
    rspamd = Rspamd()
    try:
        yield rspamd
    finally:
        rspamd.close()


def _program() -> str:
    found = shutil.which("rspamd", path=f"{os.environ.get('PATH', '')}:/usr/bin")
    if found is None:
        raise RuntimeError("rspamd is missing: scripts/mail_packages installs it")
    return found
