"""The pages from a try to enforcement: their commands of `tes` in a reader's order, and what each page promises."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from streams.edge.connectors.files import parse_connectors
from streams.operations.feeds import produce_feed
from streams.settings.worker import Settings
from tests.support.access_page import Right, rights
from tests.support.live import line, now_ms
from tests.support.ports import free_port
from tests.support.process import Process, command_of, environment_of
from tests.support.secured_broker import USERS, Secured, allow
from tests.support.waiting import PATIENCE_SECONDS

PAGES = Path(__file__).parents[2] / "docs" / "path"
NAMES = ("try", "observe", "report", "enforce")
HOSTS = ("mx1.contoso.com", "mx3.contoso.com")
_BLOCK = re.compile(r"^ *\n((?:^ {4,}\S.*\n)+)", re.MULTILINE)
_COMMAND = re.compile(r"^ {4}((?:runuser -u [\w-]+ -- )?(?:/opt/tes/bin/)?tes .*)$", re.MULTILINE)
_SETTING = re.compile(r"^ {4}(TES_\w+)=(.*)$", re.MULTILINE)
CONTACT = "postmaster@contoso.com"
SERVICES = Path(__file__).parents[2] / "deploy" / "systemd"
NOTICES = "runuser -u tes-report -- /opt/tes/bin/tes notify log"
# The parts of a page that run on, which the test starts itself.
RUNS_ON = {"runuser -u tes -- /opt/tes/bin/tes worker"}


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def commands_of(name: str, *headings: str) -> list[str]:
    """The commands of `tes` below these headings of a page, or of all of it."""
    sections = re.split(r"^## ", page(name), flags=re.MULTILINE)
    chosen = [part for part in sections if not headings or part.partition("\n")[0] in headings]
    assert len(chosen) >= len(headings)
    return [found for part in chosen for found in _COMMAND.findall(part) if found not in RUNS_ON]


@pytest.mark.parametrize("name", NAMES)
def test_each_page_says_what_is_needed_seen_and_how_to_go_back(name: str) -> None:
    headings = re.findall(r"^## (.+)$", page(name), re.MULTILINE)
    assert {"What you need", "What you see", "Go back"} <= set(headings)
    # Each leads to the page before and to the next one.
    at = NAMES.index(name)
    for other in (*NAMES[max(at - 1, 0) : at], *NAMES[at + 1 : at + 2]):
        assert f"({other}.md)" in page(name).partition("## What you need")[0]


class Mailbox:
    """Takes every mail, and keeps whom it was for."""

    def __init__(self) -> None:
        self.recipients = list[str]()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.recipients += envelope.rcpt_tos
        return "250 2.0.0 Ok"


class Reader:
    """Somebody who types what the pages say, on the cluster corner of a test."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment, self.done = folder, environment, list[str]()

    def types(self, command: str) -> str:
        """Run a command as it is written, but as nobody else; returns its stdout."""
        script = re.sub(r"^runuser -u [\w-]+ -- ", "", command).replace("/opt/tes/bin/tes", "tes")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{command}\n{done.stdout}{done.stderr}"
        self.done.append(command)
        return done.stdout

    def types_until(self, command: str, text: str) -> str:
        """Run a command until it shows a text."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in (shown := self.types(command)):
            assert time.monotonic() < deadline, f"{command}: no {text!r} in\n{shown}"
            time.sleep(0.5)
        return shown

    def follows(self, name: str, *headings: str) -> None:
        """Run all commands of a page, or of some of its parts."""
        for command in commands_of(name, *headings):
            if command.startswith("tes policy mode"):
                self.switches(command)
            elif command == "tes doctor":
                # Right after a change of mode some partitions still show the version before.
                self.types_until("tes doctor || true", "policy in force: microsoft")
                self.types(command)
            else:
                self.types(command)

    def switches(self, command: str) -> None:
        """Change the mode, and wait until it governs."""
        mode = command.rsplit(maxsplit=1)[-1]
        self.types(command)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not re.search(rf"{mode} +topic +governs", shown := self.types("tes policy list")):
            assert time.monotonic() < deadline, shown
            time.sleep(0.5)

    def servers(self) -> dict[str, Any]:
        return {row["Server"]: row for row in orjson.loads(self.types("tes servers list --tenant contoso --json"))}

    def until_servers(self, are_so: Any) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not are_so(rows := self.servers()):
            assert time.monotonic() < deadline, orjson.dumps(rows).decode()
            time.sleep(0.5)
        return rows


@contextmanager
def a_process(log: Path, environment: dict[str, str], port: int, *words: str) -> Iterator[Process]:
    process = Process(log, {name: value for name, value in environment.items() if name.startswith("TES_")}, *words)
    try:
        process.until_ready(port)
        yield process
    finally:
        process.end()


def connect(settings: Settings) -> None:
    """A message of each server, as an edge reports it."""
    lines = []
    for number, host in enumerate(HOSTS):
        record = orjson.loads(line(number, now_ms())) | {"tenant_id": "contoso", "helo": host}
        record["received"] = [record["received"][0].replace(f"mx{number}.example.com", host)]
        lines.append(orjson.dumps(record))
    asyncio.run(produce_feed(settings, lines))


@pytest.fixture
def bootstrap(secured: Secured) -> str:
    """Of the broker that asks who its clients are; `settings` come in where nobody asks."""
    return secured.kafka.bootstrap


def written_settings(secured: Secured, settings: Settings, who: str, text: str) -> dict[str, str]:
    """The settings of a page or a file for SASL PLAIN, with the names, places and size of this broker."""
    password = secured.folder / f"{who}.password"
    password.write_text(USERS[who])
    written = dict(_SETTING.findall(text))
    assert {"TES_KAFKA_BOOTSTRAP", "TES_KAFKA_USER", "TES_KAFKA_PASSWORD_FILE"} <= set(written)
    here = {
        "TES_KAFKA_BOOTSTRAP": secured.kafka.bootstrap_of(written["TES_KAFKA_SECURITY_PROTOCOL"]),
        "TES_KAFKA_USER": who,
        "TES_KAFKA_PASSWORD_FILE": str(password),
        "TES_REPLICATION": "1",
        "TES_STATE_DIR": settings.state_dir,
    }
    if written["TES_KAFKA_SECURITY_PROTOCOL"] == "SASL_SSL":
        here["TES_KAFKA_CA_FILE"] = str(secured.authority.file)
    corner = {name: value for name, value in settings.environment().items() if name not in written}
    return corner | written | here


def rights_on_the_page() -> dict[str, list[str]]:
    """The rows of `access.md` whose rights each user of the page has."""
    rows = re.findall(r"^\| (`tes.*?) \| (.*) \|$", page("observe"), re.MULTILINE)
    return {user: re.findall(r"\*(\w+)\*", roles) for names, roles in rows for user in re.findall("`([^`]+)`", names)}


def give_rights(settings: Settings) -> None:
    """Give the worker's user, the edge's and notify's what the page says; the broker knows them by other names."""
    of_page = rights_on_the_page()
    assert of_page["tes-edge"] == ["edge"]
    assert "notify" in of_page["tes-notify"]
    once = Right("operator", "cluster", "kafka-cluster", "Create")
    own = [replace(right, who="operator") for right in rights() if right.who in of_page["tes"]]
    others = [right for right in rights() if right.who in ("edge", "notify")]
    asyncio.run(allow(settings, {*own, *others, once}))


def run_tes(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = command_of(*words)
    return subprocess.run(command, env=environment_of(environment), capture_output=True, text=True, check=False)


def test_the_settings_of_the_page_fit_each_way_to_sign_in(secured: Secured, settings: Settings) -> None:
    """As its table changes them; and the broker lets them in, or it is told that the password is wrong."""
    block = page("observe").partition("## Install")[2].partition("## Start")[0]
    for change in ("=SASL_PLAINTEXT`, `TES_ALLOW_PLAINTEXT=1`", "=SCRAM-SHA-512`", "`SCRAM-SHA-256`"):
        assert change in block
    with_tls = written_settings(secured, settings, "operator", block)
    clear = block.replace("=SASL_SSL", "=SASL_PLAINTEXT").replace("TES_ALLOW_PLAINTEXT=0", "TES_ALLOW_PLAINTEXT=1")
    for environment in (
        with_tls,
        with_tls | {"TES_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"},
        written_settings(secured, settings, "operator", clear),
    ):
        done = run_tes(environment, "config", "check")
        assert (done.returncode, done.stderr.rstrip()[-7:]) == (0, "answers"), done.stderr
    Path(with_tls["TES_KAFKA_PASSWORD_FILE"]).write_text("another")
    done = run_tes(with_tls, "config", "check")
    assert (done.returncode, "Authentication failed" in done.stderr) == (1, True), done.stderr


class Place:
    """Where a reader is: settings of each part as the pages write them, on the broker that asks who its clients are."""

    def __init__(self, secured: Secured, settings: Settings, folder: Path) -> None:
        give_rights(settings)
        self.worker_port, self.notify_port, self.report_port, self.page_port = (free_port() for _ in range(4))
        block = page("observe").partition("## Install")[2].partition("## Start")[0]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TES_")}
        self.environment = environment | written_settings(secured, settings, "operator", block)
        self.environment |= {
            "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
            "TES_WEB_PORT": str(self.worker_port),
            "TES_REPORT_DIR": str(folder / "tables"),
            "TES_NOTIFY_PORT": str(self.notify_port),
        }
        self.first_look = self.environment | {
            "TES_REPORT_DIR": str(folder / "first"),
            "TES_REPORT_LOCAL_SIGN_IN": "demo",
            "TES_REPORT_PORT": str(self.report_port),
            "TES_REPORT_API_PORT": str(self.page_port),
        }
        file = re.sub("^(?=TES_)", "    ", (SERVICES / "notify.env").read_text(encoding="utf-8"), flags=re.MULTILINE)
        plain = written_settings(secured, settings, "notify", file.replace("=SCRAM-SHA-512", "=PLAIN"))
        self.telling = self.environment | plain | dict(_SETTING.findall(page("report")))
        self.telling |= {"TES_REPORT_DIR": str(folder / "tables"), "TES_NOTIFY_SMTP_PORT": str(free_port())}
        self.edge = secured.scram(settings, "edge", kafka_mechanism="PLAIN")
        (shown,) = [block for block in _BLOCK.findall(page("report")) if "- connector_id" in block]
        (folder / "connectors.yaml").write_text(re.sub(r"^ {4}", "", shown, flags=re.MULTILINE), encoding="utf-8")
        assert [one["contacts"] for one in yaml.safe_load(shown)] == [[CONTACT]]
        assert parse_connectors((folder / "connectors.yaml").read_text(encoding="utf-8"), "connectors.yaml")

    def is_served_to_a_first_look(self, log: Path) -> bool:
        """Whether the page lets a browser in, once every table was read."""
        browser = urllib.request.Request(f"http://127.0.0.1:{self.page_port}/", headers={"Accept": "text/html"})
        with (
            a_process(log, self.first_look, self.report_port, "report"),
            urllib.request.urlopen(browser, timeout=60) as answer,
        ):
            return bool(answer.status == HTTPStatus.OK)

    @contextmanager
    def relay(self) -> Iterator[Mailbox]:
        """A relay where the page says that one is."""
        mailbox = Mailbox()
        host, port = self.telling["TES_NOTIFY_SMTP_HOST"], int(self.telling["TES_NOTIFY_SMTP_PORT"])
        controller = Controller(mailbox, hostname=host, port=port)
        controller.start()
        try:
            yield mailbox
        finally:
            controller.stop()


@pytest.mark.timeout(900)
def test_a_reader_comes_from_observing_to_enforcement_and_back(
    secured: Secured, settings: Settings, tmp_path: Path
) -> None:
    place = Place(secured, settings, tmp_path)
    reader = Reader(tmp_path, place.environment)
    with ExitStack() as stack:
        mailbox = stack.enter_context(place.relay())
        before, after = commands_of("observe", "Start the worker")[:-1], commands_of("observe", "Start the worker")[-1:]
        assert after == ["tes doctor"]
        for command in before:
            reader.switches(command) if "policy mode" in command else reader.types(command)
        stack.enter_context(a_process(tmp_path / "worker.log", place.environment, place.worker_port, "worker"))
        connect(place.edge)
        found = reader.until_servers(lambda rows: set(rows) == set(HOSTS))
        # Observed: known as out of date, without an episode and so without a date.
        assert {(row["Status"], row["Finding"], row["FirstDetectedDate"]) for row in found.values()} == {
            ("REPORTED", "OUT_OF_DATE", None)
        }
        reader.types_until(after[0] + " || true", "signs of life: all")
        reader.types(after[0])
        reader.follows("observe", "What you see")
        assert (tmp_path / "inventory.csv").read_text(encoding="utf-8").count("mx1.contoso.com") >= 1
        assert all(host in reader.types("tes whatif --policy enforce.yaml") for host in HOSTS)

        reader.follows("report", "Start the notices")
        assert place.is_served_to_a_first_look(tmp_path / "report.log")
        stack.enter_context(a_process(tmp_path / "notify.log", place.telling, place.notify_port, "notify"))
        reader.follows("report", "Tell them")
        connect(place.edge)
        # Told: an episode has begun, and no date is set.
        found = reader.until_servers(lambda rows: all(row["FirstDetectedDate"] for row in rows.values()))
        assert {row["ThrottleEnabledDate"] for row in found.values()} == {None}
        for host in HOSTS:
            told = reader.types_until(f"{NOTICES} | grep -F {host} || true", "SENT")
            assert "SERVER_DETECTED" in told
            assert CONTACT in told
        assert set(mailbox.recipients) == {CONTACT}
        reader.follows("report", "What you see")

        reader.follows("enforce", "Turn the ladder on")
        reader.follows("enforce", "Pause, except, override")
        reader.follows("enforce", "Go back")
        reader.follows("report", "Go back")
    # Nothing that a page says was left out.
    written = [command for name in ("observe", "report", "enforce") for command in commands_of(name)]
    assert set(written) <= set(reader.done), set(written) - set(reader.done)
    assert shutil.which("tes", path=place.environment["PATH"])
