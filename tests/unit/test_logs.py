"""What a line of the log looks like."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from streams.kafka.secret_files import secrets_of
from streams.log_events import EVENTS, log_event
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings, SettingsError
from streams.telemetry.logs import JsonFormatter, TextFormatter, is_worth_reading


def record_of(message: str, *values: Any, **given: Any) -> logging.LogRecord:
    record = logging.LogRecord("streams.x", logging.WARNING, "", 1, message, values, given.pop("exc_info", None))
    record.created = 1_800_000_000.5
    record.__dict__.update(given)
    return record


def test_a_json_line_has_moment_level_logger_event_and_fields() -> None:
    about = log_event("partitions_assigned", partitions=[0, 2], level="mine", left=None)
    line = JsonFormatter([]).format(record_of("assigned %s", [0, 2], **about))
    assert json.loads(line) == {
        "ts": "2027-01-15T08:00:00.500Z",
        "level": "WARNING",
        "logger": "streams.x",
        "event": "partitions_assigned",
        "message": "assigned [0, 2]",
        "partitions": [0, 2],
        "field_level": "mine",
        "left": None,
    }


def test_a_line_of_a_library_is_one_line_too() -> None:
    line = JsonFormatter([]).format(record_of("table\n+---+\n"))
    assert "\n" not in line
    assert (json.loads(line)["event"], json.loads(line)["message"]) == ("log", "table\n+---+")


@pytest.mark.parametrize("kind", [JsonFormatter, TextFormatter])
def test_secrets_come_out_of_no_part_of_a_line(kind: type[JsonFormatter | TextFormatter]) -> None:
    try:
        raise ValueError("refused: hunter2-longer and hunter2")
    except ValueError as error:
        about = {"event": "worker_failed", "fields": {"why": "with hunter2", "list": ["hunter2"]}}
        record = record_of("password is %s", "hunter2", exc_info=(ValueError, error, error.__traceback__), **about)
    text = kind(["hunter2", "hunter2-longer", ""]).format(record)
    assert "hunter2" not in text
    assert "-longer" not in text
    assert text.count("(redacted)") >= 3


def test_the_secrets_are_those_of_settings_and_of_their_files(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("from-a-file\n")
    scram: dict[str, Any] = {"kafka_protocol": "SASL_SSL", "kafka_mechanism": "SCRAM-SHA-512", "kafka_user": "tes"}
    assert secrets_of(Settings(**scram, kafka_password="hunter2")) == ["hunter2"]
    assert secrets_of(Settings(**scram, kafka_password_file=str(file))) == ["from-a-file"]
    assert secrets_of(Settings(**scram, kafka_password_file=str(tmp_path / "none"))) == []
    assert secrets_of(Settings()) == []
    issuer: dict[str, Any] = {"oidc_issuer": "https://login.example.com", "oidc_client_id": "report"}
    report = ReportSettings(
        **issuer, oidc_client_secret_file=str(file), session_key_file=str(file), database_file=str(file)
    )
    assert secrets_of(report) == ["from-a-file"] * 3


def test_a_name_that_is_not_listed_is_refused() -> None:
    with pytest.raises(KeyError):
        log_event("something_else")
    assert log_event("dead_letter", topic="t") == {"event": "dead_letter", "fields": {"topic": "t"}}
    assert all(text.endswith(".") for text in EVENTS.values())


def test_another_format_is_refused() -> None:
    with pytest.raises(SettingsError, match="TES_LOG_FORMAT: 'xml': must be text or json"):
        Settings(log_format="xml")


@pytest.mark.parametrize(
    ("name", "level", "message", "is_shown"),
    [
        ("streams.worker.app", logging.INFO, "worker ready", True),
        ("streams.engine.faust.app", logging.INFO, "[^-BatchApp]: Starting...", False),
        ("streams.engine.faust.app", logging.WARNING, "[^-BatchApp]: Timer woke up too late", True),
        ("aiokafka.consumer", logging.INFO, "Joined group", False),
        ("aiokafka.consumer", logging.ERROR, "Heartbeat failed", True),
        ("streamsofsomebody", logging.INFO, "x", False),
    ],
)
def test_a_log_for_people_leaves_out_what_libraries_do(name: str, level: int, message: str, is_shown: bool) -> None:
    record = logging.LogRecord(name, level, "", 1, "%s", (message,), None)
    assert is_worth_reading(record) is is_shown
