"""`tes notify`: its settings, its tables, and the proof of what became of notices."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.cli.main import main
from streams.notices.facts import begin
from streams.notices.opening import open_ledger
from streams.notices.tables import DESTINATION
from streams.settings.base import SettingsError
from streams.settings.edge import read_edge_settings
from streams.settings.notify import NotifySettings, read_notify_settings
from streams.settings.report import read_report_settings
from streams.settings.worker import read_settings
from tests.support.channels import FAILED, RecordingChannel
from tests.support.notices import START, add_destination, notice, rows_of, subscribe
from tests.support.notify_site import Site


def test_all_parts_share_one_environment() -> None:
    together = {"TES_NOTIFY_PORT": "7000", "TES_REPORT_PORT": "7001", "TES_EDGE_MODE": "enforce", "TES_PARTITIONS": "8"}
    assert read_notify_settings(together).port == 7000
    assert read_report_settings(together).port == 7001
    assert read_settings(together).partitions == 8
    read_edge_settings(together)


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("TES_NOTIFY_COLOUR", "red", "unknown setting"),
        ("TES_NOTIFY_PORT", "65536", "must be a port"),
        ("TES_NOTIFY_GROUP_ABOVE", "0", "must be from 1 to 100"),
        ("TES_NOTIFY_IN_FLIGHT", "0", "must be from 1 to 10000"),
        ("TES_NOTIFY_HISTORY_DAYS", "7", "must be from 8 to 4000"),
        ("TES_REPORT_DATABASE", "mysql://report", "must begin with postgresql://"),
        ("TES_LOG_FORMAT", "xml", "must be text or json"),
        ("TES_REPORT_PUBLIC_URL", "http://tes.contoso.com", "must begin with https://, except on loopback"),
        ("TES_REPORT_PUBLIC_URL", "https://tes.contoso.com/tes", "must have no path"),
        ("TES_NOTIFY_ALLOWED_NETWORKS", "10.1.0.1/16", "must be a network such as 10.1.0.0/16"),
        ("TES_NOTIFY_SMTP_TLS", "none", "needs TES_NOTIFY_SMTP_HOST"),
        ("TES_NOTIFY_MAIL_FROM", "tes@contoso.com", "needs TES_NOTIFY_SMTP_HOST"),
        ("TES_NOTIFY_LMTP", "127.0.0.1:2424", "needs TES_NOTIFY_SMTP_HOST"),
    ],
)
def test_what_is_no_setting_is_refused(variable: str, value: str, rule: str) -> None:
    with pytest.raises(SettingsError, match=rule):
        read_notify_settings({variable: value})


RELAY = {
    "TES_REPORT_PUBLIC_URL": "https://tes.contoso.com",
    "TES_NOTIFY_SMTP_HOST": "relay.contoso.com",
    "TES_NOTIFY_MAIL_FROM": "tes@contoso.com",
}


def test_a_relay_needs_an_address_of_its_own_and_a_place_for_links() -> None:
    assert read_notify_settings(RELAY).smtp_port == 587
    with pytest.raises(SettingsError) as refused:
        read_notify_settings({"TES_NOTIFY_SMTP_HOST": "::1"})
    assert [line.partition(": ")[2] for line in refused.value.errors] == [
        "'::1': needs TES_NOTIFY_MAIL_FROM",
        "'::1': needs TES_REPORT_PUBLIC_URL, where links in mails lead",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("TES_NOTIFY_SMTP_HOST", "relay.contoso.com:25", "must be the name or the address of a host"),
        ("TES_NOTIFY_SMTP_HOST", "10.0.0.0/8", "must be the name or the address of a host"),
        ("TES_NOTIFY_SMTP_PORT", "0", "must be a port, 1 to 65535"),
        ("TES_NOTIFY_SMTP_TLS", "ssl", "must be one of none, starttls, tls"),
        ("TES_NOTIFY_SMTP_USER", "tes", "needs TES_NOTIFY_SMTP_PASSWORD_FILE"),
        ("TES_NOTIFY_SMTP_PASSWORD_FILE", "/run/password", "needs TES_NOTIFY_SMTP_USER"),
        ("TES_NOTIFY_SMTP_CONNECTIONS", "101", "must be from 1 to 100"),
        ("TES_NOTIFY_MAIL_FROM", "TES <tes@contoso.com>", "must be an address such as tes@contoso.com"),
        ("TES_NOTIFY_MAIL_REPLY_TO", "tes", "must be an address such as tes@contoso.com"),
        ("TES_NOTIFY_MAIL_NAME", "TES\r\nBcc: a@b.example", "must be at most 100 printable characters"),
        ("TES_NOTIFY_BOUNCE_DOMAIN", "@contoso.com", "must be the name of a host"),
        ("TES_NOTIFY_HELLO", "not_a_host", "must be the name of a host"),
        ("TES_NOTIFY_LMTP", "2424", "must be unix:/PATH or HOST:PORT"),
        ("TES_NOTIFY_LMTP", "0.0.0.0:2424", "must be an address of this machine only"),
        ("TES_NOTIFY_LMTP", "unix:/run/tes/lmtp", "needs TES_NOTIFY_BOUNCE_DOMAIN"),
    ],
)
def test_what_no_relay_can_be_spoken_to_with_is_refused(variable: str, value: str, rule: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable}: .*{rule}"):
        read_notify_settings(RELAY | {variable: value})


def test_a_password_goes_over_no_network_in_the_clear() -> None:
    signs_in = {"TES_NOTIFY_SMTP_USER": "tes", "TES_NOTIFY_SMTP_PASSWORD_FILE": "/run/password"}
    plain = RELAY | signs_in | {"TES_NOTIFY_SMTP_TLS": "none"}
    with pytest.raises(SettingsError, match=r"TES_NOTIFY_SMTP_USER: .*except on loopback"):
        read_notify_settings(plain)
    read_notify_settings(plain | {"TES_NOTIFY_SMTP_HOST": "127.0.0.1"})
    with pytest.raises(SettingsError, match=r"TES_NOTIFY_SMTP_CA_FILE: .*needs TES_NOTIFY_SMTP_TLS"):
        read_notify_settings(RELAY | {"TES_NOTIFY_SMTP_TLS": "none", "TES_NOTIFY_SMTP_CA_FILE": "/run/ca.pem"})


def test_files_of_secrets_are_known_to_the_log() -> None:
    files = {"TES_NOTIFY_SMTP_PASSWORD_FILE": "/run/password", "TES_NOTIFY_SIGNING_KEY_FILE": "/run/key"}
    settings = read_notify_settings(RELAY | {"TES_NOTIFY_SMTP_USER": "tes"} | files)
    assert set(files.values()) <= set(settings.secret_files())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a ledger with a notice that failed, which commands are told of by the environment."""
    database = open_ledger(NotifySettings(directory=str(tmp_path)))
    database.migrate()
    begin(database, START)
    subscribe(database, add_destination(database))
    site = Site(database)
    site.deliver()
    site.channel = RecordingChannel(lambda _, __: FAILED)
    site.record(notice(1, server="mx1\x1b[31m.contoso.com"))
    site.deliver(after=1_000)
    database.close()
    monkeypatch.setenv("TES_REPORT_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_the_log_says_what_became_of_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["notify", "log", "--notification", "n1"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "PACKED  MAIL  Admins  contoso/" in first
    assert "mx1\\x1b[31m.contoso.com  n1  try later" in first
    assert second.endswith("attempt 1: FAILED 503 try later")
    assert main(["notify", "log", "--json"]) == 0
    assert [row["notification_id"] for row in json.loads(capsys.readouterr().out)] == ["n1"]
    assert main(["notify", "log", "--jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["notification_id"] == "n1"
    assert main(["notify", "log", "--destination", "other"]) == 0
    assert capsys.readouterr().out == ""


def test_a_test_that_nobody_sends_is_said_to_wait(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = open_ledger(NotifySettings(directory=str(folder)))
    (known,) = [row["destination_id"] for row in rows_of(database, DESTINATION)]
    asked = add_destination(database, tenant="fabrikam", is_confirmed=False)
    database.close()
    assert main(["notify", "test", known, "--wait", "0"]) == 1
    assert "nothing was sent yet" in capsys.readouterr().err
    assert main(["notify", "test", asked.destination_id]) == 1
    assert "is not confirmed" in capsys.readouterr().err
    assert main(["notify", "test", "x\x1b"]) == 1
    assert "'x\\x1b': unknown" in capsys.readouterr().err


def test_tables_are_made_by_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TES_REPORT_DIR", str(tmp_path / "new"))
    assert main(["notify", "log"]) == 1
    assert main(["notify", "migrate"]) == 0
    assert main(["notify", "log"]) == 0
    assert (tmp_path / "new" / "notices.db").exists()


def test_settings_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["notify", "config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["TES_NOTIFY_GROUP_ABOVE"] == 5
