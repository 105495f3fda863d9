"""What the report shows of itself, and that it needs neither Kafka nor a database to start and to end in order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.report.metrics import ReportMetrics
from streams.report.reading.status import SILENT_MS, STALE_MS, State, Status, not_ready_because, not_serving_because
from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.report_page import NOW, following


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (following(), None),
        (following(current_at=NOW - STALE_MS), None),
        (following(current_at=NOW - STALE_MS - 1000), "the tables have not been known to be current for 61 seconds"),
        (Status(State.STANDBY), None),
        (Status(), "the topics are being read"),
        (Status(State.CATCHING_UP), "the topics are being read"),
        (Status(State.CATCHING_UP, mends="deletions may have been missed"), "deletions may have been missed"),
        (Status(State.FOLLOWING, failures={"database": "is full"}), "database: is full"),
        (Status(State.STOPPED, stopped="tes report rebuild"), "tes report rebuild"),
    ],
)
def test_readyz_says_what_is_missing(status: Status, why: str | None) -> None:
    assert not_ready_because(status, NOW) == why


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (Status(), "the database has not answered yet"),
        (Status(State.STANDBY, answered_at=NOW), None),
        (Status(State.CATCHING_UP, answered_at=NOW - SILENT_MS), None),
        (Status(State.STOPPED, stopped="tes report rebuild", answered_at=NOW, failures={"kafka": "is away"}), None),
        (Status(State.STANDBY, answered_at=NOW - SILENT_MS - 1000), "the database has not answered for 21 seconds"),
        (Status(State.FOLLOWING, answered_at=NOW, unanswered="is gone"), "is gone"),
    ],
)
def test_a_process_serves_while_its_database_answers_whatever_it_reads(status: Status, why: str | None) -> None:
    assert not_serving_because(status, NOW) == why


def test_the_status_is_on_the_page() -> None:
    page = ReportMetrics("1", following, lambda: NOW).page().decode()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert found["tes_report_ready",] == 1
    assert found["tes_report_age_seconds",] == 2
    assert found["tes_report_lag_records", "verdict"] == 3
    assert found["tes_report_state", "following"] == 1
    assert found["tes_report_state", "stopped"] == 0
    assert found["tes_report_database_bytes",] == 4096
    assert found["tes_report_free_bytes",] == 8192
    assert found["tes_report_serving",] == found["tes_report_lease",] == 1


@pytest.mark.timeout(180)
@pytest.mark.parametrize("database", ["", "postgresql://nobody@127.0.0.1:1/none"])
def test_without_kafka_and_database_it_starts_says_why_it_is_not_ready_and_ends_with_0(
    tmp_path: Path, database: str
) -> None:
    port = free_port()
    variables = {
        "TES_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "TES_REPORT_DIR": str(tmp_path / "report"),
        "TES_REPORT_DATABASE": database,
        "TES_REPORT_PORT": str(port),
    }
    process = Process(tmp_path / "log", variables, "report")
    said = process.until_said(port, "refused")
    assert said["ready"] is False
    if database:
        assert process.until_said(port, "refused", "/servingz")["serving"] is False
    else:
        # Old tables are served, and show how old they are.
        assert process.until_ready(port, "/servingz")["serving"] is True
    assert process.end() == 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (None, "TES_REPORT_DATABASE_FILE: '{}': must be readable: No such file or directory"),
        ("mysql://report:s3cret@db/report", "TES_REPORT_DATABASE: (redacted): must begin with postgresql://"),
    ],
)
def test_a_file_without_an_address_is_refused(tmp_path: Path, content: str | None, rule: str) -> None:
    file = tmp_path / "database"
    if content:
        file.write_text(content + "\n")
    variables = {"TES_REPORT_DATABASE_FILE": str(file), "TES_REPORT_PORT": "0"}
    process = Process(tmp_path / "log", variables, "report")
    assert process.ended() == 2
    assert rule.format(file) in process.log
    assert "s3cret" not in process.log


@pytest.mark.timeout(180)
def test_what_is_refused_ends_it_at_once_with_the_reason(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.touch()
    variables = {"TES_REPORT_DIR": str(taken / "report"), "TES_REPORT_PORT": "0"}
    process = Process(tmp_path / "log", variables, "report")
    assert process.ended() == 2
    assert "report failed to start" in process.log


def test_no_other_command_loads_a_library_of_databases() -> None:
    code = (
        "import sys; from streams.cli.main import build_parser; build_parser(); "
        "sys.exit(bool({'sqlalchemy', 'alembic', 'psycopg'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
