"""The report over the sample feed, served until it is told to end: what administrators see, ask and do.

Kafka, a worker and the report run on this machine, on free ports and in a folder that is deleted at the end. The feed
is moved by whole days so that it ends today: dates to come are to come. Anybody on this machine may sign in as anybody.
`scripts/demo` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, date, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars  # noqa: E402
from streams.dev.java import EmbeddedKafkaError  # noqa: E402
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
            _serve(Path(scratch), arguments.port or free_port())
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


def _serve(folder: Path, port: int) -> None:
    print("The report over the sample feed, moved so that it ends today: starting Kafka, a worker and the report.")
    today = datetime.now(UTC).date()
    lines = moved_feed(FEED.read_bytes().splitlines(), today)
    with ExitStack() as stack:
        kafka = stack.enter_context(EmbeddedKafka(folder / "kafka", jars_dir=ensure_jars()))
        worker_port, probe_port = free_port(), free_port()
        settings = Settings(
            bootstrap=kafka.bootstrap, partitions=2, state_dir=str(folder / "state"), web_port=worker_port
        )
        records = asyncio.run(_fill(settings, lines))
        worker = Process(folder / "worker.log", settings.environment(), "worker")
        stack.callback(worker.end)
        variables = {
            "TES_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "TES_REPORT_DIR": str(folder / "report"),
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
        print(
            f"\nThe report is at http://127.0.0.1:{port}/ until Ctrl-C. Sign in as tenant-admin of {TENANT}, or as"
            " operator.\nThe service works: a pause is granted or refused by it.",
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
    count, _ = await produce_feed(settings, lines)
    return count


if __name__ == "__main__":
    sys.exit(main())
