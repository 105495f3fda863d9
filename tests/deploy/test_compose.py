"""`deploy/compose`: valid by the Compose specification, and every process gets settings that it takes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from streams.cli.main import build_parser
from streams.settings.database import DatabaseSettings
from streams.settings.edge import read_edge_settings
from streams.settings.notify import read_notify_settings
from streams.settings.report import read_report_settings
from streams.settings.worker import read_settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"
SCHEMA = ROOT / "tests" / "data" / "compose" / "compose-spec.json"
GIVEN = {
    "TES_REPORT_PUBLIC_URL": "https://tes.example.com",
    "TES_REPORT_OIDC_ISSUER": "https://login.example.com",
    "TES_NOTIFY_SMTP_HOST": "relay.example.com",
    "TES_NOTIFY_MAIL_FROM": "enforcement@example.com",
}
READERS: dict[str, Callable[[dict[str, str]], Any]] = {
    "topics": read_settings,
    "worker": read_settings,
    "report": read_report_settings,
    "notify": read_notify_settings,
    "edge": read_edge_settings,
}
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def interpolated(text: str) -> str:
    """What Compose makes of variables, with those that have to be given."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        if kind == "?":
            return GIVEN[name]
        return GIVEN.get(name, rest if kind == "-" else "")

    return _VARIABLE.sub(value, text)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(interpolated((FOLDER / "compose.yaml").read_text(encoding="utf-8")))
    return found


def test_it_is_valid_by_the_specification(compose: dict[str, Any]) -> None:
    validator = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert [f"{error.instance_path}: {error.message}" for error in validator.iter_errors(compose)] == []
    wrong = compose | {"services": compose["services"] | {"x": {"imagine": "y"}}}
    assert list(validator.iter_errors(wrong))


def test_every_variable_that_is_asked_for_is_used(compose: dict[str, Any]) -> None:
    asked = re.findall(r"\$\{(\w+):\?", (FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    assert set(asked) == set(GIVEN)


@pytest.mark.parametrize("name", READERS)
def test_each_process_takes_its_settings_and_its_command(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    environment = service["environment"]
    assert all(isinstance(value, str) for value in environment.values())
    settings = READERS[name](environment)
    assert settings.bootstrap == "kafka:9092"
    build_parser()[0].parse_args(service["command"])
    for variable, value in environment.items():
        if variable.endswith("_FILE") and value.startswith("/run/secrets/"):
            assert Path(value).name in service["secrets"], variable


@pytest.mark.parametrize("name", READERS)
def test_no_process_of_the_product_has_rights_that_it_does_not_use(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    # What is served to other machines is in front of a proxy with TLS.
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize(
    ("name", "field"), [("worker", "web_port"), ("report", "port"), ("notify", "port"), ("edge", "door_port")]
)
def test_a_probe_asks_where_the_process_answers(compose: dict[str, Any], name: str, field: str) -> None:
    service = compose["services"][name]
    port = getattr(READERS[name](service["environment"]), field)
    assert f"http://127.0.0.1:{port}/" in service["healthcheck"]["test"][-1]
    compile(service["healthcheck"]["test"][-1], name, "exec")


def test_edge_and_postfix_meet_in_one_folder(compose: dict[str, Any]) -> None:
    services = compose["services"]
    folder, _, socket = services["edge"]["environment"]["TES_EDGE_MILTER"].removeprefix("unix:").rpartition("/")
    assert f"milter:{folder}" in services["edge"]["volumes"]
    (line,) = re.findall(r"unix:([^,]+)", (ROOT / "deploy/mta/postfix/main.cf").read_text(encoding="utf-8"))
    assert f"milter:/var/spool/postfix/{Path(line).parent}" in services["postfix"]["volumes"]
    assert Path(line).name == socket
    assert "../mta/postfix/main.cf:/etc/tes/main.cf:ro" in services["postfix"]["volumes"]
    user = re.search(r"^USER (\d+):", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert user is not None
    assert f"-o {user[1]} " in (FOLDER / "postfix" / "start.sh").read_text(encoding="utf-8")


def test_secrets_are_made_once_for_this_user_and_are_those_that_are_asked_for(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copy(FOLDER / "secrets.sh", tmp_path)

    def make() -> str:
        done = subprocess.run(
            ["bash", str(tmp_path / "secrets.sh")], check=True, capture_output=True, text=True, env=dict(os.environ)
        )
        return done.stderr

    assert "client-secret" in make()
    folder = tmp_path / "secrets"
    first = {file.name: file.read_text() for file in folder.iterdir()}
    (folder / "client-secret").write_text("of the provider")
    assert make() == ""
    assert {file.name: file.read_text() for file in folder.iterdir()} == first | {"client-secret": "of the provider"}
    wanted = {Path(row["file"]).name for row in compose["secrets"].values()}
    assert wanted == {*first, "client-secret"}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert DatabaseSettings(database=first["database"]).database.endswith("@postgresql/tes")
    assert first["role"] in first["database"]
    assert len(set(first.values())) == len(first)


@pytest.mark.parametrize("script", ["postgresql.sh", "secrets.sh", "postfix/start.sh"])
def test_scripts_are_sound(script: str) -> None:
    subprocess.run(["bash", "-n", str(FOLDER / script)], check=True)
