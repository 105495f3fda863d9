"""The settings of the report: what is taken, what is refused, and that those of other parts may be set beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.settings.base import SettingsError
from streams.settings.edge import read_edge_settings
from streams.settings.report import ReportSettings, read_report_settings
from streams.settings.worker import read_settings

SECRET = "s3cret"


def test_the_report_starts_without_a_single_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    settings = read_report_settings({})
    assert settings.folder == tmp_path / "tes" / "report"
    assert settings.database == ""
    assert settings.history_days == 400


def test_all_parts_share_one_environment() -> None:
    together = {"TES_REPORT_PORT": "7000", "TES_EDGE_MODE": "enforce", "TES_PARTITIONS": "8", "TES_TOPIC_PREFIX": "g2."}
    assert read_report_settings(together).port == 7000
    assert read_report_settings(together).topic("a") == read_edge_settings(together).topic("a") == "g2.a"
    assert read_settings(together).partitions == 8


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("TES_REPORT_COLOUR", "red", "unknown setting"),
        ("TES_REPORT_DATABASE", "mysql://report", "must begin with postgresql://"),
        ("TES_REPORT_DATABASE", "postgresql://report@db:port/report", "must be an address"),
        ("TES_REPORT_DATABASE", "postgresql://report@db:99999/report", "must have a port from 1 to 65535"),
        ("TES_REPORT_DATABASE", "postgresql://report@[db/report", "must be an address"),
        ("TES_REPORT_SCHEMA", 'a"; drop', "must be a lower-case name"),
        ("TES_REPORT_SCHEMA", "x" * 51, "must be at most 50 characters"),
        ("TES_REPORT_SCHEMA", "public", "must be a schema that is only the report's"),
        ("TES_REPORT_SCHEMA", "pg_temp", "must be a schema that is only the report's"),
        ("TES_REPORT_SCHEMA", "information_schema", "must be a schema that is only the report's"),
        ("TES_REPORT_HISTORY_DAYS", "1", "must be from 2 to 4000"),
        ("TES_REPORT_PORT", "65536", "must be a port"),
        ("TES_REPORT_API_PORT", "65536", "must be a port"),
        ("TES_REPORT_API_PORT", "6069", "must differ from TES_REPORT_PORT"),
        ("TES_REPORT_API_HOST", "", "must be an address to listen at"),
        ("TES_REPORT_PUBLIC_URL", "report.example", "must be an address that begins with http or https://"),
        ("TES_REPORT_PUBLIC_URL", "http://report.example", "must begin with https://, except on loopback"),
        ("TES_REPORT_PUBLIC_URL", "https://report.example/tes", "must have no path"),
        ("TES_REPORT_PUBLIC_URL", "https://report.example/?a", "must not contain a query"),
        ("TES_REPORT_OIDC_ISSUER", "https://id.example", "needs TES_REPORT_OIDC_AUDIENCE or TES_REPORT_OIDC_CLIENT_ID"),
        ("TES_REPORT_OIDC_ISSUER", "http://id.example", "must begin with https://, except on loopback"),
        ("TES_REPORT_OIDC_ISSUER", "http://127.0.0.1.evil.example", "must begin with https://, except on loopback"),
        ("TES_REPORT_OIDC_AUDIENCE", "tes", "needs TES_REPORT_OIDC_ISSUER"),
        ("TES_REPORT_OIDC_CLIENT_ID", "report", "needs TES_REPORT_OIDC_ISSUER"),
        ("TES_REPORT_OIDC_CLIENT_SECRET", "x", "needs TES_REPORT_OIDC_CLIENT_ID"),
        ("TES_REPORT_OIDC_CLIENT_SECRET_FILE", "/x", "needs TES_REPORT_OIDC_CLIENT_ID"),
        ("TES_REPORT_OIDC_ALGORITHMS", "none", "must be one or several of RS256, ES256, PS256, EdDSA"),
        ("TES_REPORT_OIDC_ALGORITHMS", "RS256,HS256", "must be one or several of RS256, ES256, PS256, EdDSA"),
        ("TES_REPORT_OIDC_ALGORITHMS", "", "must be one or several of RS256, ES256, PS256, EdDSA"),
        ("TES_REPORT_OIDC_TENANT_CLAIM", "", "must be the name of a claim"),
        ("TES_REPORT_OIDC_ROLE_CLAIM", "r" * 201, "must be the name of a claim"),
        ("TES_REPORT_SESSION_KEY", "k" * 31, "must have 32 characters or more"),
        ("TES_REPORT_LOCAL_SIGN_IN", "true", "must be empty or demo"),
        ("TES_LOG_FORMAT", "xml", "must be text or json"),
        ("TES_SCHEMA_REGISTRY_URL", "ftp://registry", "must be an address that begins with http"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_rule(variable: str, value: str, rule: str) -> None:
    with pytest.raises(SettingsError, match=variable) as refused:
        read_report_settings({variable: value})
    assert rule in str(refused.value)


@pytest.mark.parametrize(
    ("beside", "rule"),
    [
        ({"TES_REPORT_API_HOST": "0.0.0.0"}, "needs a TES_REPORT_API_HOST that is loopback"),
        ({"TES_REPORT_API_HOST": "localhost.evil.example"}, "needs a TES_REPORT_API_HOST that is loopback"),
        ({"TES_REPORT_PUBLIC_URL": "https://report.example"}, "must be empty if TES_REPORT_PUBLIC_URL is set"),
        (
            {"TES_REPORT_OIDC_ISSUER": "https://id.example", "TES_REPORT_OIDC_AUDIENCE": "tes"},
            "must be empty if TES_REPORT_OIDC_ISSUER is set",
        ),
    ],
)
def test_the_local_sign_in_is_refused_wherever_others_could_reach_it(beside: dict[str, str], rule: str) -> None:
    assert read_report_settings({"TES_REPORT_LOCAL_SIGN_IN": "demo", "TES_REPORT_API_HOST": "::1"}).local_sign_in
    with pytest.raises(SettingsError, match=f"^TES_REPORT_LOCAL_SIGN_IN: 'demo': {rule}"):
        read_report_settings({"TES_REPORT_LOCAL_SIGN_IN": "demo", **beside})


def test_sign_in_in_a_browser_needs_an_address_to_come_back_to() -> None:
    given = {"TES_REPORT_OIDC_ISSUER": "https://id.example", "TES_REPORT_OIDC_CLIENT_ID": "report"}
    assert read_report_settings(given).oidc_client_id == "report"
    elsewhere = given | {"TES_REPORT_API_HOST": "0.0.0.0"}
    with pytest.raises(SettingsError, match="TES_REPORT_OIDC_CLIENT_ID: 'report': needs TES_REPORT_PUBLIC_URL"):
        read_report_settings(elsewhere)
    reachable = elsewhere | {"TES_REPORT_PUBLIC_URL": "https://report.example/"}
    assert read_report_settings(reachable).public_url == "https://report.example/"


def test_a_secret_comes_from_one_place() -> None:
    given = {"TES_REPORT_OIDC_ISSUER": "https://id.example", "TES_REPORT_OIDC_CLIENT_ID": "report"}
    client = {"TES_REPORT_OIDC_CLIENT_SECRET": SECRET, "TES_REPORT_OIDC_CLIENT_SECRET_FILE": "/run/client"}
    session = {"TES_REPORT_SESSION_KEY": SECRET * 8, "TES_REPORT_SESSION_KEY_FILE": "/run/session"}
    with pytest.raises(SettingsError) as refused:
        read_report_settings(given | client | session)
    assert "TES_REPORT_OIDC_CLIENT_SECRET_FILE: '/run/client': must be empty if" in str(refused.value)
    assert "TES_REPORT_SESSION_KEY_FILE: '/run/session': must be empty if" in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://",
        "postgresql:///report",
        "postgresql://db:5432",
        "postgresql://report@[::1]:5432/report",
        "postgresql://report:[p/a?s:s#@db/report",
        "postgresql://report@/report?host=/run/postgresql",
    ],
)
def test_addresses_of_databases_are_taken_as_they_come(address: str) -> None:
    assert read_report_settings({"TES_REPORT_DATABASE": address}).database == address


def test_the_address_comes_by_itself_or_in_a_file_but_not_both() -> None:
    both = {
        "TES_REPORT_DATABASE": f"postgresql://report:{SECRET}@db/report",
        "TES_REPORT_DATABASE_FILE": "/run/address",
    }
    with pytest.raises(SettingsError, match="TES_REPORT_DATABASE_FILE: '/run/address': must be empty") as refused:
        read_report_settings(both)
    assert SECRET not in str(refused.value)


def test_the_password_of_the_database_is_shown_nowhere() -> None:
    settings = ReportSettings(database=f"postgresql://report:{SECRET}@db/report")
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings.shown())
    with pytest.raises(SettingsError) as refused:
        ReportSettings(database=f"mysql://report:{SECRET}@db/report")
    assert SECRET not in str(refused.value)
