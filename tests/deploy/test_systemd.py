"""What the systemd services promise: commands and settings that exist, few rights, and a door without credentials."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.cli.main import build_parser, main
from streams.edge.connectors.files import read_connectors
from streams.kafka.timing import Timing
from streams.notify.process import END_SECONDS
from streams.settings.base import SettingsError
from streams.settings.edge import EdgeSettings, read_edge_settings
from streams.settings.notify import NotifySettings, read_notify_settings
from streams.settings.report import ReportSettings, read_report_settings
from streams.settings.worker import Settings, read_settings
from tests.deploy.manifests import REPOSITORY
from tests.deploy.systemd import (
    EDGE,
    FOLDER,
    NOTIFY,
    REPORT,
    SERVICES,
    WORKER,
    environment_file,
    systemds_environment,
    unit,
    values,
)

EXPOSURE = 15
"""Most of 100 points; systemd calls 20 safe."""


def environment_of(name: str) -> dict[str, str]:
    """A service's environment: its own, then that of its files."""
    found = dict(value.split("=", 1) for value in values(name, "Environment"))
    for path in values(name, "EnvironmentFile"):
        assert Path(path).parent == Path("/etc/tes"), path
        found |= environment_file(Path(path).name)
    return found


def settings_of(name: str) -> EdgeSettings:
    # It raises for an unknown TES_ variable, and for a value that is not of its kind.
    return read_edge_settings(environment_of(name))


@pytest.mark.parametrize("name", EDGE)
def test_each_runs_a_command_of_tes_with_settings_that_are_known(name: str) -> None:
    (command,) = values(name, "ExecStart")
    program, *arguments = command.split()
    assert program == "/opt/tes/bin/tes"
    parsed = build_parser()[0].parse_args(arguments)
    assert f"tes-{parsed.command}-{parsed.action}" == name
    assert settings_of(name).mode == "report"


def test_both_have_the_folder_that_their_state_is_in() -> None:
    for name in EDGE:
        assert values(name, "StateDirectory") == ["tes-edge"]
        assert str(settings_of(name).folder) == "/var/lib/tes-edge"
        assert values(name, "User") == values(name, "Group") == ["tes-edge"]


def report_settings(**others: str) -> ReportSettings:
    return read_report_settings(environment_of(REPORT) | others)


def test_the_report_keeps_its_files_where_it_may_write() -> None:
    assert values(REPORT, "ExecStart") == ["/opt/tes/bin/tes report"]
    build_parser()[0].parse_args(["report"])
    assert values(REPORT, "StateDirectory") == ["tes-report"]
    assert str(report_settings().folder) == "/var/lib/tes-report"
    assert values(REPORT, "User") == values(REPORT, "Group") == ["tes-report"]
    # What the reader needs for the write that is under way: see kafka/timing.py.
    assert int(values(REPORT, "TimeoutStopSec")[0]) > Timing().end


def test_the_line_for_postgresql_can_be_taken_in() -> None:
    text = (FOLDER / "report.env").read_text(encoding="utf-8")
    (line,) = re.findall(r"^#(TES_\w+=.*)$", text, re.MULTILINE)
    variable, _, value = line.partition("=")
    assert report_settings(**{variable: value}).database_file == value


def notify_settings(**others: str) -> NotifySettings:
    return read_notify_settings(environment_of(NOTIFY) | others)


def test_the_ledger_is_beside_the_reports_files() -> None:
    assert values(NOTIFY, "ExecStart") == ["/opt/tes/bin/tes notify"]
    build_parser()[0].parse_args(["notify"])
    for key in ("StateDirectory", "StateDirectoryMode", "User", "Group", "UMask"):
        assert values(NOTIFY, key) == values(REPORT, key)
    assert notify_settings().folder == report_settings().folder
    assert int(values(NOTIFY, "TimeoutStopSec")[0]) > END_SECONDS + 20


def test_the_line_of_notify_for_postgresql_can_be_taken_in() -> None:
    text = (FOLDER / "notify.env").read_text(encoding="utf-8")
    (line,) = re.findall(r"^#(TES_REPORT_DATABASE_FILE=.*)$", text, re.MULTILINE)
    variable, _, value = line.partition("=")
    assert notify_settings(**{variable: value}).database_file == value


def worker_settings(**others: str) -> Settings:
    return read_settings(environment_of(WORKER) | others)


@pytest.mark.parametrize("read", [report_settings, notify_settings, worker_settings])
def test_each_reaches_kafka_in_the_dark_and_is_asked_on_this_machine_only(
    read: Callable[..., ReportSettings | NotifySettings | Settings],
) -> None:
    found = read()
    assert found.has_tls
    assert found.has_password
    assert found.web_host == "127.0.0.1"
    with pytest.raises(SettingsError, match="TES_KAFKA_SECURITY_PROTOCOL: 'PLAINTEXT'"):
        read(TES_KAFKA_SECURITY_PROTOCOL="PLAINTEXT")


def test_the_worker_keeps_its_state_where_it_may_write() -> None:
    assert values(WORKER, "ExecStart") == ["/opt/tes/bin/tes worker"]
    build_parser()[0].parse_args(["worker"])
    assert values(WORKER, "StateDirectory") == ["tes"]
    assert worker_settings().state_dir == "/var/lib/tes"
    assert values(WORKER, "User") == values(WORKER, "Group") == ["tes"]


def test_the_lines_of_a_static_member_can_be_taken_in_and_leave_time_to_stop() -> None:
    text = (FOLDER / "worker.env").read_text(encoding="utf-8")
    lines = dict(re.findall(r"^#(TES_\w+)=(.*)$", text, re.MULTILINE))
    found = worker_settings(**lines)
    assert found.instance_id
    # Half the session timeout for the unit of work, and 20 seconds where no broker answers.
    assert int(values(WORKER, "TimeoutStopSec")[0]) > found.session_timeout_seconds / 2 + 20


def test_a_worker_whose_settings_are_refused_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TES_TICK_SECONDS", "0")
    (code,) = values(WORKER, "RestartPreventExitStatus")
    assert main(["worker"]) == int(code)
    assert "TES_TICK_SECONDS" in capsys.readouterr().err


def test_only_sync_knows_kafka() -> None:
    door, sync = EDGE
    assert not [variable for variable in environment_of(door) if "KAFKA" in variable]
    assert settings_of(sync).has_tls
    assert settings_of(sync).has_password
    (hidden,) = values(door, "InaccessiblePaths")
    secrets = {path.removeprefix("-") for path in hidden.split()}
    assert "/etc/tes/kafka.env" in secrets
    for variable, value in environment_of(sync).items():
        if variable.endswith("_FILE"):
            assert str(Path(value).parent) in secrets, variable


def test_a_network_in_the_clear_is_refused_unless_told_so() -> None:
    environment = environment_of("tes-edge-sync") | {"TES_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}
    with pytest.raises(SettingsError, match="TES_KAFKA_SECURITY_PROTOCOL: 'PLAINTEXT'"):
        read_edge_settings(environment)


def test_the_door_speaks_to_this_machine_only_and_may_write_where_it_listens() -> None:
    (door, _) = EDGE
    assert values(door, "IPAddressDeny") == ["any"]
    assert values(door, "IPAddressAllow") == ["localhost"]
    address = settings_of(door).milter_address
    assert address is not None
    assert address.path is not None
    assert values(door, "ReadWritePaths") == [f"-{Path(address.path).parent}"]


def test_the_door_has_the_folder_that_the_page_of_sendmail_names() -> None:
    (folder,) = values("tes-edge-door", "RuntimeDirectory")
    assert f"TES_EDGE_MILTER=unix:/run/{folder}/" in (REPOSITORY / "docs/how-to/sendmail.md").read_text("utf-8")
    # Other users must pass through it; the socket's own mode says who connects.
    assert values("tes-edge-door", "RuntimeDirectoryMode") == ["0755"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_comes_back_within_a_second_however_often(name: str) -> None:
    settings = {(section, key): value for section, key, value in unit(name)}
    assert settings["Service", "Restart"] == "always"
    assert settings["Service", "RestartSec"] == "1"
    assert settings["Unit", "StartLimitIntervalSec"] == "0"


def test_the_connectors_of_the_example_can_be_read() -> None:
    path = Path(settings_of("tes-edge-door").connectors)
    assert path.parent == Path("/etc/tes")
    assert read_connectors(FOLDER / path.name)


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """All services as files, with a program that is there in the place of theirs."""
    found = []
    for name in SERVICES:
        text = (FOLDER / f"{name}.service").read_text(encoding="utf-8")
        path = tmp_path / f"{name}.service"
        path.write_text(text.replace("/opt/tes/bin/tes", str(Path(sys.executable).with_name("tes"))))
        found.append(path)
    return found


def test_systemd_understands_every_line(units: list[Path]) -> None:
    done = analyze("verify", "--man=no", *units)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wrong = units[0].read_text().replace("ProtectSystem=strict", "ProtectSystem=strictly")
    units[0].write_text(wrong)
    assert "Failed to parse protect system value" in analyze("verify", "--man=no", units[0]).stderr


def test_systemd_finds_them_little_exposed(units: list[Path]) -> None:
    for path in units:
        done = analyze("security", "--offline=yes", f"--threshold={EXPOSURE}", "--no-pager", path)
        assert done.returncode == 0, done.stdout
        assert re.search(r"exposure level for tes-[\w-]+\.service: 1\.\d OK", done.stdout)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    environment = systemds_environment()
    program = shutil.which("systemd-analyze", path=environment["PATH"])
    assert program is not None
    return subprocess.run([program, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False)
