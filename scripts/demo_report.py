"""The report over the sample feed, served until it is told to end: what administrators see, ask and do.

Kafka, a worker, the report and the notices run on this machine, on free ports and in a folder that is deleted at the
end. The feed is moved by whole days so that it ends today: dates to come are to come. Anybody on this machine may sign
in as anybody. Mails go to a relay of the demo's own, which only writes them to a folder. `scripts/demo` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from email import message_from_bytes, policy
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from streams.clock import wall_clock_ms  # noqa: E402
from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars  # noqa: E402
from streams.dev.java import EmbeddedKafkaError  # noqa: E402
from streams.edge.connectors.files import parse_connectors  # noqa: E402
from streams.edge.connectors.topic import connector_topic_of, publish_connectors  # noqa: E402
from streams.kafka.provisioning import create_topics  # noqa: E402
from streams.operations.feeds import produce_feed  # noqa: E402
from streams.settings.worker import Settings  # noqa: E402
from tests.support.ports import free_port  # noqa: E402
from tests.support.process import Process  # noqa: E402

FEED: Final = REPOSITORY / "examples" / "feed.jsonl"
_DAY = re.compile(rb"\d{4}-\d{2}-\d{2}(?=T)")
_HEADER_DAY = re.compile(rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} [A-Z][a-z]{2} \d{4}")
_COMMON: Final = 10
"""Lines of a day that belongs to the feed."""
WAIT_SECONDS: Final = 600
TENANT: Final = "tenant-006"
"""One whose servers are in several stages."""
CONTACT: Final = f"admin@{TENANT}.example"
"""Who is told, as the tenant's connector says."""
CONNECTORS: Final = f"""\
- connector_id: inbound-{TENANT}
  tenant_id: {TENANT}
  type: ON_PREMISES
  match:
    cidrs: [192.0.2.0/24]
  contacts: [{CONTACT}]
"""


class MailFolder:
    """A relay that takes every mail, and writes it to a folder: as it came, and as a browser shows it."""

    def __init__(self, folder: Path) -> None:
        """Write to a folder, which is made anew."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder, self.count, self.has_come = folder, 0, threading.Event()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a mail."""
        assert isinstance(envelope.content, bytes)
        self.count += 1
        name = f"{self.count:03}"
        (self.folder / f"{name}.eml").write_bytes(envelope.content)
        page = message_from_bytes(envelope.content, policy=policy.default).get_body(("html",))
        if page is not None:
            (self.folder / f"{name}.html").write_text(page.get_content(), encoding="utf-8")
        self.has_come.set()
        return "250 2.0.0 Ok"


@contextmanager
def mail_relay(folder: Path) -> Iterator[tuple[MailFolder, int]]:
    """A relay on loopback until the end of the context, and its port."""
    mails, port = MailFolder(folder), free_port()
    relay = Controller(mails, hostname="127.0.0.1", port=port)
    relay.start()
    try:
        yield mails, port
    finally:
        relay.stop()


def moved_feed(lines: list[bytes], today: date) -> list[bytes]:
    """The feed with every date moved by the days that lie between its last one and today; what is no date stays."""
    days = Counter(found[0] for line in lines if (found := _DAY.search(line)))
    # A few lines have broken clocks.
    last = max(day for day, count in days.items() if count >= _COMMON)
    by = today - date.fromisoformat(last.decode())

    @lru_cache(None)
    def moved_day(day: bytes) -> bytes:
        try:
            return (date.fromisoformat(day.decode()) + by).isoformat().encode()
        except (ValueError, OverflowError):
            return day

    @lru_cache(None)
    def moved_header_day(day: bytes) -> bytes:
        try:
            at = parsedate_to_datetime(f"{day.decode()} 00:00:00 +0000") + by
        except (ValueError, OverflowError):
            return day
        return format_datetime(at).partition(" 00:")[0].encode()

    return [
        _HEADER_DAY.sub(lambda found: moved_header_day(found[0]), _DAY.sub(lambda found: moved_day(found[0]), line))
        for line in lines
    ]


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for the logs of the processes")
    parser.add_argument("--port", type=int, default=6070, help="where the report is served; 0: any port (%(default)s)")
    arguments = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    with tempfile.TemporaryDirectory(prefix="tes-demo-") as scratch:
        try:
            mails = (arguments.out or Path(scratch)) / "mails"
            _serve(Path(scratch), arguments.port or free_port(), mails)
        except KeyboardInterrupt:
            print("demo: the report ends", file=sys.stderr)
        except (EmbeddedKafkaError, RuntimeError, TimeoutError, AssertionError) as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        finally:
            _keep_logs(Path(scratch), arguments.out)
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _keep_logs(folder: Path, out: Path | None) -> None:
    for log in folder.glob("*.log"):
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(log, out / f"report-{log.name}")


def _serve(folder: Path, port: int, mails_folder: Path) -> None:
    print(
        "The report over the sample feed, moved so that it ends today: starting Kafka, a worker, the notices and the"
        " report."
    )
    today = datetime.now(UTC).date()
    lines = moved_feed(FEED.read_bytes().splitlines(), today)
    with ExitStack() as stack:
        kafka = stack.enter_context(EmbeddedKafka(folder / "kafka", jars_dir=ensure_jars()))
        mails, relay_port = stack.enter_context(mail_relay(mails_folder))
        worker_port, probe_port, notify_port = free_port(), free_port(), free_port()
        settings = Settings(
            bootstrap=kafka.bootstrap, partitions=2, state_dir=str(folder / "state"), web_port=worker_port
        )
        records = asyncio.run(_fill(settings, lines))
        common = {"TES_KAFKA_BOOTSTRAP": kafka.bootstrap, "TES_REPORT_DIR": str(folder / "report")}
        of_notify = {
            "TES_NOTIFY_PORT": str(notify_port),
            "TES_REPORT_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "TES_NOTIFY_SMTP_HOST": "127.0.0.1",
            "TES_NOTIFY_SMTP_PORT": str(relay_port),
            "TES_NOTIFY_SMTP_TLS": "none",
            "TES_NOTIFY_MAIL_FROM": "enforcement@tes.example",
        }
        # Before the worker: what was written before the ledger began is told nobody.
        notify = Process(folder / "notify.log", common | of_notify, "notify")
        stack.callback(notify.end)
        notify.until_ready(notify_port)
        worker = Process(folder / "worker.log", settings.environment(), "worker")
        stack.callback(worker.end)
        variables = common | {
            "TES_REPORT_PORT": str(probe_port),
            "TES_REPORT_API_PORT": str(port),
            "TES_REPORT_LOCAL_SIGN_IN": "demo",
        }
        worker.until_ready(worker_port)
        _until_worked_off(worker_port, records)
        # What is on the topics now is all shown when it is ready for the first time.
        report = Process(folder / "report.log", variables, "report")
        stack.callback(report.end)
        report.until_ready(probe_port)
        if not mails.has_come.wait(WAIT_SECONDS):
            raise TimeoutError(f"no mail has come in {WAIT_SECONDS} s")
        print(
            f"\nThe report is at http://127.0.0.1:{port}/ until Ctrl-C. Sign in as tenant-admin of {TENANT}, or as"
            " operator.\nThe service works: a pause is granted or refused by it."
            f"\nNotices for {TENANT} go as mails to {CONTACT}, into {mails.folder}; there are {mails.count}.",
            flush=True,
        )
        signal.pause()


def _until_worked_off(port: int, records: int) -> None:
    """Wait until a worker has committed so many records.

    Raises:
        TimeoutError: it does not in `WAIT_SECONDS`.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    done = 0.0
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            page = answer.read().decode()
        done = sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith("tes_records_total{"))
        if done >= records:
            return
        time.sleep(0.2)
    raise TimeoutError(f"the worker has processed {done:.0f} of {records} records in {WAIT_SECONDS} s")


async def _fill(settings: Settings, lines: list[bytes]) -> int:
    await create_topics(settings)
    entries = parse_connectors(CONNECTORS, "demo")
    await publish_connectors(connector_topic_of(settings), settings.app_id, entries, wall_clock_ms(), "demo", "demo")
    count, _ = await produce_feed(settings, lines)
    return count


if __name__ == "__main__":
    sys.exit(main())
