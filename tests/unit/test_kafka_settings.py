"""Which settings of Kafka's wires go together, and what is said of those that do not."""

from __future__ import annotations

import os
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from streams.cli.main import main
from streams.kafka.security import cluster_of
from streams.settings.kafka import without_security
from streams.settings.worker import Settings, SettingsError, read_settings

SECRET = "s3cret-of-nobody"
SCRAM = {
    "TES_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "TES_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "TES_KAFKA_USER": "tes",
    "TES_KAFKA_PASSWORD": SECRET,
}
PLAIN = SCRAM | {"TES_KAFKA_SASL_MECHANISM": "PLAIN"}
OAUTH = {"TES_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "TES_KAFKA_SASL_MECHANISM": "OAUTHBEARER"}
ENDPOINT = OAUTH | {
    "TES_KAFKA_TOKEN_URL": "https://id.example/token",
    "TES_KAFKA_CLIENT_ID": "tes",
    "TES_KAFKA_CLIENT_SECRET": SECRET,
}


REGISTRY = {
    "TES_SCHEMA_REGISTRY_URL": "https://registry.example.com",
    "TES_SCHEMA_REGISTRY_USER": "key",
    "TES_SCHEMA_REGISTRY_PASSWORD": SECRET,
}


def without(given: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in given.items() if name not in names}


WRONG: list[tuple[dict[str, str], str]] = [
    ({"TES_KAFKA_SECURITY_PROTOCOL": "TLS"}, "TES_KAFKA_SECURITY_PROTOCOL: 'TLS': must be one of PLAINTEXT, SSL"),
    ({"TES_KAFKA_SECURITY_PROTOCOL": "sasl_ssl"}, "TES_KAFKA_SECURITY_PROTOCOL: 'sasl_ssl': must be one of"),
    ({"TES_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "TES_KAFKA_SASL_MECHANISM: '': must be one of PLAIN, SCRAM"),
    (SCRAM | {"TES_KAFKA_SASL_MECHANISM": "GSSAPI"}, "TES_KAFKA_SASL_MECHANISM: 'GSSAPI': must be one of"),
    (without(PLAIN, "TES_KAFKA_USER"), "TES_KAFKA_USER: '': must be set with PLAIN"),
    (
        PLAIN | {"TES_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "TES_ALLOW_PLAINTEXT": "0"},
        "TES_KAFKA_SECURITY_PROTOCOL: 'SASL_PLAINTEXT': must be SSL or SASL_SSL",
    ),
    (
        {"TES_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"},
        "TES_KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512': must be empty, because",
    ),
    (
        SCRAM | {"TES_KAFKA_SECURITY_PROTOCOL": "SSL"},
        "TES_KAFKA_SASL_MECHANISM: 'SCRAM-SHA-512': must be empty, because",
    ),
    (
        {"TES_KAFKA_CA_FILE": "ca.pem"},
        "TES_KAFKA_CA_FILE: 'ca.pem': must be empty, because TES_KAFKA_SECURITY_PROTOCOL is",
    ),
    (
        SCRAM | {"TES_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "TES_KAFKA_KEY_FILE": "k"},
        "TES_KAFKA_KEY_FILE: 'k': must be empty, because TES_KAFKA_SECURITY_PROTOCOL is SASL_PLAINTEXT",
    ),
    (
        {"TES_KAFKA_SECURITY_PROTOCOL": "SSL", "TES_KAFKA_CERTIFICATE_FILE": "c"},
        "TES_KAFKA_KEY_FILE: '': must be set, because a certificate needs its key",
    ),
    (
        {"TES_KAFKA_SECURITY_PROTOCOL": "SSL", "TES_KAFKA_KEY_FILE": "k"},
        "TES_KAFKA_CERTIFICATE_FILE: '': must be set, because a certificate needs its key",
    ),
    ({"TES_KAFKA_USER": "tes"}, "TES_KAFKA_USER: 'tes': must be empty, because TES_KAFKA_SASL_MECHANISM is empty"),
    ({"TES_KAFKA_PASSWORD": SECRET}, "TES_KAFKA_PASSWORD: (redacted): must be empty, because"),
    ({"TES_KAFKA_PASSWORD_FILE": "p"}, "TES_KAFKA_PASSWORD_FILE: 'p': must be empty, because"),
    (without(SCRAM, "TES_KAFKA_USER"), "TES_KAFKA_USER: '': must be set with SCRAM-SHA-512"),
    (
        without(SCRAM, "TES_KAFKA_PASSWORD"),
        "TES_KAFKA_PASSWORD: '': set this or TES_KAFKA_PASSWORD_FILE",
    ),
    (
        SCRAM | {"TES_KAFKA_PASSWORD_FILE": "p"},
        "TES_KAFKA_PASSWORD: (redacted): set either this or TES_KAFKA_PASSWORD_FILE, not both",
    ),
    (
        SCRAM | {"TES_KAFKA_TOKEN_FILE": "t"},
        "TES_KAFKA_TOKEN_FILE: 't': must be empty, because TES_KAFKA_SASL_MECHANISM is",
    ),
    (
        OAUTH | {"TES_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "TES_KAFKA_TOKEN_FILE": "t"},
        "TES_KAFKA_SECURITY_PROTOCOL: 'SASL_PLAINTEXT': must be SASL_SSL with OAUTHBEARER",
    ),
    (OAUTH, "TES_KAFKA_TOKEN_FILE: '': set this or TES_KAFKA_TOKEN_URL"),
    (
        ENDPOINT | {"TES_KAFKA_TOKEN_FILE": "t"},
        "TES_KAFKA_TOKEN_FILE: 't': set either this or TES_KAFKA_TOKEN_URL, not both",
    ),
    (ENDPOINT | {"TES_KAFKA_USER": "tes"}, "TES_KAFKA_USER: 'tes': must be empty, because TES_KAFKA_SASL_MECHANISM is"),
    (
        OAUTH | {"TES_KAFKA_TOKEN_FILE": "t", "TES_KAFKA_CLIENT_SECRET": SECRET},
        "TES_KAFKA_CLIENT_SECRET: (redacted): must be empty, because TES_KAFKA_TOKEN_URL is empty",
    ),
    (without(ENDPOINT, "TES_KAFKA_CLIENT_ID"), "TES_KAFKA_CLIENT_ID: '': must be set with TES_KAFKA_TOKEN_URL"),
    (
        without(ENDPOINT, "TES_KAFKA_CLIENT_SECRET"),
        "TES_KAFKA_CLIENT_SECRET: '': set this or TES_KAFKA_CLIENT_SECRET_FILE",
    ),
    (ENDPOINT | {"TES_KAFKA_TOKEN_URL": "http://id.example/token"}, "TES_KAFKA_TOKEN_URL: 'http://id.example/token':"),
    (ENDPOINT | {"TES_KAFKA_TOKEN_URL": "https:///token"}, "TES_KAFKA_TOKEN_URL: 'https:///token': must be an address"),
    (ENDPOINT | {"TES_KAFKA_TOKEN_URL": "https://id.example:x/"}, "TES_KAFKA_TOKEN_URL: 'https://id.example:x/': must"),
    (
        ENDPOINT | {"TES_KAFKA_TOKEN_URL": f"https://tes:{SECRET}@id.example/"},
        "TES_KAFKA_TOKEN_URL: (redacted): must not contain a user or a password",
    ),
    (
        {"TES_SCHEMA_REGISTRY_URL": f"https://tes:{SECRET}@registry.example/"},
        "TES_SCHEMA_REGISTRY_URL: (redacted): must not contain a user or a password",
    ),
    ({"TES_SCHEMA_REGISTRY_URL": "registry:8081"}, "TES_SCHEMA_REGISTRY_URL: 'registry:8081': must be an address"),
    (
        {"TES_SCHEMA_REGISTRY_USER": "key"},
        "TES_SCHEMA_REGISTRY_USER: 'key': must be empty, because TES_SCHEMA_REGISTRY_URL",
    ),
    (without(REGISTRY, "TES_SCHEMA_REGISTRY_PASSWORD"), "TES_SCHEMA_REGISTRY_PASSWORD: '': set this or"),
    (
        without(REGISTRY, "TES_SCHEMA_REGISTRY_USER"),
        "TES_SCHEMA_REGISTRY_PASSWORD: (redacted): must be empty, because TES_SCHEMA_REGISTRY_USER is empty",
    ),
    (
        REGISTRY | {"TES_SCHEMA_REGISTRY_TOKEN_FILE": "t"},
        "TES_SCHEMA_REGISTRY_USER: 'key': must be empty, because TES_SCHEMA_REGISTRY_TOKEN_FILE is set",
    ),
    (REGISTRY | {"TES_SCHEMA_REGISTRY_USER": "a:b"}, "TES_SCHEMA_REGISTRY_USER: 'a:b': must not contain a colon"),
    (
        REGISTRY | {"TES_SCHEMA_REGISTRY_URL": "http://registry.example.com"},
        "TES_SCHEMA_REGISTRY_URL: 'http://registry.example.com': must begin with https:// with a user or a token",
    ),
    (
        {"TES_SCHEMA_REGISTRY_URL": "http://127.0.0.1:8081", "TES_SCHEMA_REGISTRY_CA_FILE": "ca.pem"},
        "TES_SCHEMA_REGISTRY_CA_FILE: 'ca.pem': must be empty, because TES_SCHEMA_REGISTRY_URL begins with http://",
    ),
    ({"TES_KAFKA_PASWORD": SECRET}, "TES_KAFKA_PASWORD: unknown setting; known are"),
]


@pytest.mark.parametrize(("given", "said"), WRONG)
def test_a_wrong_combination_is_refused_by_variable_value_and_rule(given: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings(given)
    assert str(refused.value).startswith(said)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("given", [{}, SCRAM, ENDPOINT, {"TES_KAFKA_SECURITY_PROTOCOL": "SSL"}])
def test_settings_survive_the_way_to_another_process(given: dict[str, str]) -> None:
    settings = read_settings(given)
    assert read_settings(settings.environment()) == settings


@pytest.mark.parametrize("given", [SCRAM, ENDPOINT])
def test_the_embedded_kafka_is_entered_without_what_the_settings_say_of_another(given: dict[str, str]) -> None:
    settings = read_settings(given | {"TES_PARTITIONS": "7"})
    assert replace(settings, **without_security("127.0.0.1:1")) == Settings(bootstrap="127.0.0.1:1", partitions=7)


@pytest.mark.parametrize("given", [SCRAM, ENDPOINT])
def test_secrets_are_not_shown(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in [name for name in os.environ if name.startswith("TES_")]:
        monkeypatch.delenv(variable)
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    settings = read_settings()
    shown = settings.shown()
    secret = next(variable for variable, value in given.items() if value == SECRET)
    assert shown[secret] == "(redacted)"
    assert {name: shown[name] for name in without(given, secret)} == without(given, secret)
    assert main(["config", "show"]) == 0
    assert main(["config", "check", "--json"]) == 1  # no broker answers
    told = capsys.readouterr()
    assert "(redacted)" in told.out
    assert SECRET not in f"{shown} {settings!r} {cluster_of(settings)!r} {told.out} {told.err}"


@pytest.mark.parametrize(
    "variable", ["TES_KAFKA_PASSWORD_FILE", "TES_KAFKA_TOKEN_FILE", "TES_KAFKA_CLIENT_SECRET_FILE"]
)
@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (None, "must be readable: No such file or directory"),
        (b"", "must hold one line that is not empty"),
        (b"\n", "must hold one line that is not empty"),
        (SECRET.encode() + b"\nmore", "must hold one line that is not empty"),
        (SECRET.encode() + b"\0", "must hold one line that is not empty"),
        (SECRET.encode() + b"\xff", "must hold text in UTF-8"),
        (SECRET.encode() * 10_000, "must hold at most 65536 bytes"),
    ],
)
def test_a_file_that_holds_no_secret_is_refused(
    tmp_path: Path, variable: str, content: bytes | None, rule: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    given = {
        "TES_KAFKA_PASSWORD_FILE": without(SCRAM, "TES_KAFKA_PASSWORD"),
        "TES_KAFKA_TOKEN_FILE": OAUTH,
        "TES_KAFKA_CLIENT_SECRET_FILE": without(ENDPOINT, "TES_KAFKA_CLIENT_SECRET"),
    }[variable]
    with pytest.raises(SettingsError) as refused:
        cluster_of(read_settings(given | {variable: str(file)}))
    assert str(refused.value) == f"{variable}: {str(file)!r}: {rule}"


def test_a_secret_is_the_line_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f" {SECRET} \n")
    given = without(SCRAM, "TES_KAFKA_PASSWORD") | {"TES_KAFKA_PASSWORD_FILE": str(tmp_path / "secret")}
    assert cluster_of(read_settings(given)).security["sasl_plain_password"] == f" {SECRET} "


@pytest.mark.parametrize("variable", ["TES_KAFKA_CA_FILE", "TES_KAFKA_TOKEN_CA_FILE"])
def test_authorities_that_are_none_are_refused(tmp_path: Path, variable: str) -> None:
    given = ENDPOINT | {variable: str(tmp_path / "ca.pem")}
    with pytest.raises(SettingsError, match=f"{variable}: .*ca.pem': must be readable: No such file"):
        cluster_of(read_settings(given))
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(SettingsError, match=f"{variable}: .*ca.pem': must be a PEM file with at least one certificate"):
        cluster_of(read_settings(given))


def test_what_check_refuses_ends_every_command_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable, value in (SCRAM | {"TES_KAFKA_CA_FILE": str(tmp_path / "away.pem")}).items():
        monkeypatch.setenv(variable, value)
    (tmp_path / "feed.jsonl").write_text("")
    feed = ["--feed", str(tmp_path / "feed.jsonl"), "--out", str(tmp_path / "out")]
    every = (
        ["config", "check"],
        ["topics", "create"],
        ["worker"],
        ["policy", "list"],
        ["replay", "--kafka", "h:1", *feed],
    )
    for words in every:
        assert main(words) == 2
        told = capsys.readouterr().err
        assert "TES_KAFKA_CA_FILE" in told
        assert "away.pem" in told
        assert SECRET not in told


def test_every_secret_is_marked() -> None:
    # Whoever adds one has to think of this: what is not marked is shown.
    named = {item.name for item in fields(Settings) if re.search(r"(password|secret)$", item.name)}
    assert named == {item.name for item in fields(Settings) if item.metadata["is_secret"]}
    assert named == {item.name for item in fields(Settings) if not item.repr}


def test_a_check_says_that_no_broker_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TES_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    assert main(["config", "check"]) == 1
    assert "TES_KAFKA_BOOTSTRAP: 127.0.0.1:1: ConnectionRefusedError" in capsys.readouterr().err


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT"])
def test_a_network_in_the_clear_can_be_ruled_out(protocol: str) -> None:
    environment = (SCRAM if protocol.startswith("SASL") else {}) | {"TES_KAFKA_SECURITY_PROTOCOL": protocol}
    assert read_settings(environment).kafka_protocol == protocol
    with pytest.raises(SettingsError, match=f"TES_KAFKA_SECURITY_PROTOCOL: '{protocol}': must be SSL or SASL_SSL"):
        read_settings(environment | {"TES_ALLOW_PLAINTEXT": "0"})
