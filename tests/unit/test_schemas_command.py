"""`tes schemas` against a registry like Confluent's: nothing is registered by halves, credentials go nowhere else."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.cli.main import main
from streams.settings.registry import RegistrySettings
from streams.settings.worker import read_settings
from streams.wire.codec import AvroCodec
from streams.wire.registry import ConfluentRegistry, RegistryError, registry_of
from streams.wire.schemas import SUBJECTS, load_schema, without_docs
from tests.support.registry_server import RegistryServer

SECRET = "s3cret-of-nobody"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryServer]:
    with RegistryServer(is_empty=True) as found:
        monkeypatch.setenv("TES_SCHEMA_REGISTRY_URL", found.url)
        yield found


def basic(password: str) -> str:
    return f"Basic {b64encode(f'key:{password}'.encode()).decode()}"


def test_schemas_are_registered_once_and_then_found(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TES_TOPIC_PREFIX", "eu.")
    assert main(["schemas", "check", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert [row["subject"] for row in found] == [f"eu.{subject}" for subject in SUBJECTS.values()]
    assert {(row["id"], row["state"]) for row in found} == {(None, "missing")}
    assert server.subjects == {}
    assert main(["schemas", "register", "--json"]) == 0
    registered = json.loads(capsys.readouterr().out)
    assert {row["state"] for row in registered} == {"registered"}
    assert main(["schemas", "register", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == registered
    assert main(["schemas", "check"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == [
        registered[0]["subject"],
        str(registered[0]["id"]),
        "registered",
    ]
    # What was registered is what the services write by.
    codec = AvroCodec("verdict", registry_of(read_settings()))
    ids = {row["subject"]: row["id"] for row in registered}
    assert codec.learn_id() == ids[f"eu.{SUBJECTS['verdict']}"]
    assert {len(versions) for versions in server.subjects.values()} == {1}


@pytest.mark.parametrize("action", ["check", "register"])
def test_one_that_the_registry_would_refuse_keeps_all_out(
    action: str, server: RegistryServer, capsys: pytest.CaptureFixture[str]
) -> None:
    subject, schema = SUBJECTS["verdict"], without_docs(load_schema("verdict"))
    other = schema | {"fields": [field for field in schema["fields"] if field["name"] != "tenant_id"]}
    server.put(subject, other)
    assert main(["schemas", action, "--json"]) == 3
    said = capsys.readouterr()
    assert f"tes schemas {action}: {subject}: READER_FIELD_MISSING_DEFAULT_VALUE: tenant_id" in said.err
    states = {row["subject"]: row["state"] for row in json.loads(said.out)}
    assert states.pop(subject) == "incompatible"
    assert set(states.values()) == {"missing"}
    assert list(server.subjects) == [subject]


def test_what_a_registry_says_reaches_no_terminal_as_it_is(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "answer", lambda path, schema: (500, {"message": "\x1b[2J\u202e\r\nforged"}))
    assert main(["schemas", "check"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert not {"\x1b", "\u202e", "\r"} & set(said)


def test_a_user_logs_in_with_a_password_that_is_shown_nowhere(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    server.authorization = basic(SECRET)
    assert main(["schemas", "check"]) == 1
    assert "HTTP 401" in capsys.readouterr().err
    monkeypatch.setenv("TES_SCHEMA_REGISTRY_USER", "key")
    monkeypatch.setenv("TES_SCHEMA_REGISTRY_PASSWORD", SECRET + "x")
    assert main(["schemas", "check"]) == 1
    assert SECRET not in "".join(capsys.readouterr())
    monkeypatch.delenv("TES_SCHEMA_REGISTRY_PASSWORD")
    file = tmp_path / "password"
    file.write_text(SECRET + "\n")
    monkeypatch.setenv("TES_SCHEMA_REGISTRY_PASSWORD_FILE", str(file))
    assert main(["schemas", "register"]) == 0
    # A file that was replaced is read again by who runs.
    registry = registry_of(read_settings())
    server.authorization = basic("another")
    with pytest.raises(RegistryError, match="HTTP 401"):
        registry.known_id_of(SUBJECTS["verdict"], load_schema("verdict"))
    file.write_text("another")
    assert registry.known_id_of(SUBJECTS["verdict"], load_schema("verdict")) is not None


def test_a_bearer_shows_the_token_of_a_file(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    server.authorization = "Bearer of-nobody"
    file = tmp_path / "token"
    file.write_text("of-nobody\n")
    monkeypatch.setenv("TES_SCHEMA_REGISTRY_TOKEN_FILE", str(file))
    assert main(["schemas", "register"]) == 0
    file.unlink()
    assert main(["schemas", "check"]) == 1
    assert f"{str(file)!r}: must be readable" in capsys.readouterr().err


def test_credentials_follow_no_redirection(server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TES_SCHEMA_REGISTRY_USER", "key")
    monkeypatch.setenv("TES_SCHEMA_REGISTRY_PASSWORD", SECRET)
    with RegistryServer(is_empty=True) as elsewhere:
        server.redirects_to = elsewhere.url
        assert main(["schemas", "check"]) == 1
        assert elsewhere.shown == []
    assert server.shown == [basic(SECRET)]


def test_without_a_registry_there_is_nothing_to_register(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TES_SCHEMA_REGISTRY_URL", raising=False)
    assert main(["schemas", "register"]) == 2
    assert "TES_SCHEMA_REGISTRY_URL: '': must be set" in capsys.readouterr().err


def test_the_files_of_credentials_are_kept_out_of_logs() -> None:
    settings = RegistrySettings(
        schema_registry_url="https://registry.example.com", registry_user="key", registry_password_file="p"
    )
    assert "p" in settings.secret_files()


@pytest.mark.parametrize("token", ["\ufeffof-nobody", "of nobody", "of-\u20acnobody", "of-\x1bnobody", " of-nobody"])
def test_a_token_with_odd_characters_is_refused_and_shown_nowhere(
    server: RegistryServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    token: str,
) -> None:
    file = tmp_path / "token"
    file.write_text(token, encoding="utf-8")
    monkeypatch.setenv("TES_SCHEMA_REGISTRY_TOKEN_FILE", str(file))
    assert main(["schemas", "check"]) == 1
    assert server.shown == []
    said = "".join(capsys.readouterr())
    assert f"{str(file)!r}: must hold a token of visible ASCII characters" in said
    assert "nobody" not in said.replace(str(file), "")


@pytest.mark.parametrize("schema_id", [True, -1, 1 << 31])
def test_an_id_that_no_record_can_have_is_refused(
    schema_id: int, server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "answer", lambda path, schema: (200, {"id": schema_id}))
    with pytest.raises(RegistryError, match="the response has no id"):
        ConfluentRegistry(server.url).id_of(SUBJECTS["verdict"], load_schema("verdict"))
