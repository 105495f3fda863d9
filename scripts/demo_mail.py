"""Mail of old Exchange servers through a real Postfix with the edge behind it: prints what both sides say.

Kafka, a worker and the edge run on this machine, on free ports, until this ends. `scripts/demo` runs it where it can.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from streams.dev.java import EmbeddedKafkaError  # noqa: E402
from streams.domain.time import iso  # noqa: E402
from tests.support.mail import GOOD, OLD, Client, mail_of  # noqa: E402
from tests.support.mail_site import CONNECTOR, MailSite, Tenant, until  # noqa: E402
from tests.support.old_servers import BLOCKED_DAYS, history, host_in_minutes, new_host  # noqa: E402
from tests.support.postfix import running_postfix  # noqa: E402

TENANT, ADDRESS = "contoso", "127.0.0.1"
THROTTLED_DAYS = 81
THROTTLED_STAGE, BLOCKED_STAGE = 7, 8
FIRST_THROTTLED, LAST_CHOSEN = 21, 40
"""Places in the hour that are throttled in this stage, with ten minutes left for the demo."""
MESSAGES = 4
"""That it sends."""
NOT_HERE = 69
"""Exit code where this machine lacks what is needed."""
LOGS = ("worker", "door", "sync")


class Talk(Client):
    """A client that prints what it says and what it is answered."""

    is_shown = False

    def putcmd(self, cmd: str, args: str = "") -> None:
        """See `smtplib.SMTP`."""
        self._show("C", f"{cmd} {args}".rstrip())
        super().putcmd(cmd, args)

    def getreply(self) -> tuple[int, bytes]:
        """See `smtplib.SMTP`."""
        code, text = super().getreply()
        for line in text.decode("ascii", "replace").splitlines():
            self._show("S", f"{code} {line}")
        return code, text

    def data(self, msg: Any) -> tuple[int, bytes]:
        """See `smtplib.SMTP`; of the message, its topmost line is printed."""
        self.putcmd("DATA")
        code, text = self.getreply()
        if code != 354:
            return code, text
        for line in msg.split(b"\r\nFrom:")[0].decode().split("\r\n"):
            self._show("C", line)
        self._show("C", "...")
        self._show("C", ".")
        self.send(msg + b".\r\n")
        return self.getreply()

    def _show(self, who: str, line: str) -> None:
        if self.is_shown:
            print(f"  {who}: {line}")


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for the logs of the processes")
    parser.add_argument("--check", action="store_true", help="only say whether this machine has what is needed")
    arguments = parser.parse_args()
    if why := _lacks():
        print(f"demo: no mail is sent: {why}", file=sys.stderr)
        return NOT_HERE
    if not arguments.check:
        with tempfile.TemporaryDirectory(prefix="tes-demo-") as scratch:
            try:
                _show_mail(Path(scratch))
            except (EmbeddedKafkaError, RuntimeError, TimeoutError) as error:
                print(f"demo: {error}", file=sys.stderr)
                return 1
            finally:
                _keep_logs(Path(scratch), arguments.out)
    return 0


def _lacks() -> str | None:
    if shutil.which("postfix", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
        return "Postfix is not installed: sudo scripts/mail_packages"
    return None if os.geteuid() == 0 else "Postfix can only be started by root: sudo ./scripts/demo"


def _keep_logs(folder: Path, out: Path | None) -> None:
    for name in LOGS:
        log = folder / f"{name}.log"
        if out is not None and log.exists():
            shutil.copyfile(log, out / f"mail-{name}.log")


def _show_mail(folder: Path) -> None:
    print("Mail to a real Postfix, which asks an edge, which has the verdicts of a real worker.")
    with running_postfix() as postfix:
        milter = postfix.folder / "sockets" / "edge"
        with MailSite(folder, milter, [Tenant(TENANT, ("127.0.0.0/8",))]) as site:
            port = postfix.listen(milter)
            blocked, throttled = _known_servers(site)
            new = new_host()

            _send(port, f"{new} is seen for the first time, with a build that is no longer accepted:", new, OLD)
            verdict = site.until_stage(TENANT, new, 1)
            print(
                f"\nThe service was told, and judged it: from {iso(verdict.schedule[0].starts_at)} on it is throttled."
            )
            _send(
                port, f"{throttled} was found {THROTTLED_DAYS} days ago; in this minute it has to wait:", throttled, OLD
            )
            _send(port, f"{blocked} was found {BLOCKED_DAYS} days ago, and is blocked:", blocked, OLD)
            _explain(site, folder, blocked)
            _send(port, f"{blocked} is updated, and its next message shows it:", blocked, GOOD)
            until(lambda: site.verdict(TENANT, blocked) is None)
            print("\nThe service was told of that too, and released the server. All that it was told:\n")
            _show_events(site, {new, throttled, blocked})


def _send(port: int, title: str, host: str, build: str) -> None:
    print(f"\n{title}\n")
    with Talk(port, host) as client:
        client.is_shown = True
        client.send_mail(mail_of(build, host))


def _known_servers(site: MailSite) -> tuple[str, str]:
    """A server that is blocked, and one that is throttled in this minute."""
    blocked = new_host()
    throttled = host_in_minutes(TENANT, FIRST_THROTTLED, LAST_CHOSEN)
    for host, days, stage in ((blocked, BLOCKED_DAYS, BLOCKED_STAGE), (throttled, THROTTLED_DAYS, THROTTLED_STAGE)):
        site.feed(history(TENANT, host, days))
        site.until_stage(TENANT, host, stage)
    return blocked, throttled


def _explain(site: MailSite, folder: Path, host: str) -> None:
    message = folder / "message.eml"
    message.write_bytes(mail_of(OLD, host))
    words = ("edge", "decide", "--file", str(message), "--ip", ADDRESS, "--helo", host)
    done = site.tes(*words)
    if done.returncode:
        raise RuntimeError(f"tes {' '.join(words)}: {done.stderr}")
    print(f"\nWhy? tes {' '.join(words).replace(str(message), message.name)}\n")
    print(_indented(done.stdout))


def _show_events(site: MailSite, hosts: set[str]) -> None:
    def told() -> list[dict[str, Any]] | None:
        rows = site.records("inbound_connection")
        rows = [row for row in rows if row["helo"] in hosts and row["connector_id"] == CONNECTOR]
        return rows if len(rows) >= MESSAGES else None

    for row in sorted(until(told), key=lambda row: int(row["observed_at"])):
        print(f"  {iso(row['observed_at'])}  {row['tenant_id']}  {row['helo']:16} {row['outcome']}")


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines()).rstrip()


if __name__ == "__main__":
    sys.exit(main())
