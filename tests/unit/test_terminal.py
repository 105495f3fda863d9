"""What strangers wrote comes out visible: every command, every form, every stream."""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from streams.cli import (
    backup,
    catalogue,
    connectors,
    dlq,
    doctor,
    policy,
    repartition,
    state,
    submission,
    top,
    verdicts,
)
from streams.cli.main import build_parser, main
from streams.domain.outputs.progress import PartitionProgress
from streams.domain.policy.policy import Mode
from streams.domain.tenant.audit import AuditRecord, CommandOutcome
from streams.domain.tenant.commands import CommandKind
from streams.domain.time import MINUTE_MS
from streams.kafka.topics import TopicError
from streams.notices.model import Outcome, OutcomeKind
from streams.notices.opening import open_ledger
from streams.notices.tables import DESTINATION
from streams.operations.activity import Activity, PartitionActivity, WorkerActivity
from streams.operations.backup.manifest import MANIFEST, VERSION, digest_of
from streams.operations.dead_letters import DeadLetter, Disposition, DispositionKind, RedriveResult
from streams.operations.doctor.findings import Finding, problem
from streams.operations.group import TopicContentError
from streams.operations.states import ServerHistory
from streams.policies.catalogue.files import write_tables
from streams.policies.catalogue.topic import StoredCatalogue
from streams.policies.files import read_policy
from streams.report import comparing, rebuild
from streams.report.comparing import Compared, Difference
from streams.settings.notify import read_notify_settings
from streams.telemetry.logs import TextFormatter
from streams.visible import _known_cell, csv_cell, visible, visible_json, visible_lines
from streams.wire.codec import AvroCodec
from streams.wire.policy import policy_yaml
from tests.support.catalogues import published, tables
from tests.support.channels import RecordingChannel
from tests.support.memory_topic import MemoryLog, MemoryTopic, Partition
from tests.support.notices import add_destination, notice, subscribe
from tests.support.notify_site import Site
from tests.support.registry_server import RegistryServer

FEED = Path(__file__).parents[1] / "data" / "hostile" / "control-characters.jsonl"
ALL_KINDS = "\x1b]0;x\x07\r\nforged\t\x00\x7f\x9b31m"
ALL_KINDS += "\u202e\u2066\u200b\ufeff\u2028forged\u2029\x85\u3164\ufe0f\u00ad\U000e0041"
SURROGATE = "\udc80\ud83d"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mx1.contoso.com", "mx1.contoso.com"),
        ("Zoë, 邮件, 😀", "Zoë, 邮件, 😀"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\u202eb", "a\\u202eb"),
        ("a\r\n b\n\tc", "a b c"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x7f\x9b\u2028\u200d", "\\x7f\\x9b\\u2028\\u200d"),
        ("\U000e0041\ud800", "\\U000e0041\\ud800"),
        ("\u3164\u2800\ufe0f", "\\u3164\\u2800\\ufe0f"),
        ("a\xa0b", "a\\xa0b"),
    ],
)
def test_every_character_of_a_line_can_be_seen(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_line_ends_stay_where_text_has_several_lines() -> None:
    assert visible_lines("a\n\tb\x1b\r\u202e") == "a\n\\tb\\x1b\\r\\u202e"


@pytest.mark.parametrize("text", [ALL_KINDS, "é😀", "plain"])
def test_json_means_the_same_and_hides_nothing(text: str) -> None:
    raw = visible_json({text: [text, 5]})
    assert json.loads(raw) == {text: [text, 5]}
    assert_visible(raw.decode())


@pytest.mark.parametrize(
    "begin", ["=", "+", "-", "@", "\t=", "\r", "\n", " =", "\xa0+", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
)
def test_a_cell_that_begins_as_a_formula_is_none(begin: str) -> None:
    assert csv_cell(f"{begin}1+1").startswith("'")


@pytest.mark.parametrize(("value", "cell"), [(-5, -5), (-0.5, -0.5), (None, None), ("a=b", "a=b"), ("x\x1b", "x\\x1b")])
def test_other_cells_stay(value: Any, cell: Any) -> None:
    assert csv_cell(value) == cell


@given(st.text(alphabet=st.sampled_from("aZ0_./:() @+=-,;|'\"\t\n\xa0\uff1d\u202e"), max_size=12))
def test_no_cell_begins_a_formula_anywhere(text: str) -> None:
    cell = csv_cell(text)
    assert_visible(cell)
    for part in re.split("[;,|]", cell):
        assert not re.match(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]", part)


def test_long_cells_are_not_remembered() -> None:
    before = _known_cell.cache_info().currsize
    assert csv_cell("=" + "x" * 100_000).startswith("'=")
    assert csv_cell("y" * 100_000) == "y" * 100_000
    assert _known_cell.cache_info().currsize == before


def test_a_line_of_the_log_is_one_line() -> None:
    record = _log_record(f"refused: {ALL_KINDS}")
    shown = TextFormatter([]).format(record)
    assert "\n" not in shown
    assert_visible(shown)


def test_a_traceback_never_looks_like_a_line_of_the_log() -> None:
    try:
        raise ValueError(f"x{ALL_KINDS}\n2026-09-01T00:00:00.000Z CRITICAL forged")
    except ValueError:
        record = _log_record("failed", sys.exc_info())
    first, *others = TextFormatter([]).format(record).split("\n")
    assert first.endswith(": failed")
    assert all(line.startswith("  ") for line in others)
    assert_visible("\n".join(others))


def _log_record(message: str, exc_info: Any = None) -> Any:
    return logging.LogRecord("streams", logging.ERROR, __file__, 1, "%s", (message,), exc_info)


def assert_visible(text: str) -> None:
    """Nothing but what `visible` leaves, and line ends."""
    bad = {hex(ord(char)) for char in text if char != "\n" and visible(char) != char}
    assert not bad
    assert not any(line.startswith("forged") for line in text.split("\n"))


# --- every command ---


class Shell:
    """Runs commands, and looks at all that they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.capsys, self.patch, self.folder = capsys, monkeypatch, folder

    def run(self, *words: str) -> str:
        with suppress(SystemExit):
            main(list(words))
        shown = self.capsys.readouterr()
        assert_visible(shown.out + shown.err)
        assert shown.out + shown.err
        return shown.out + shown.err


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    return Shell(capsys, monkeypatch, tmp_path)


def events() -> list[dict[str, Any]]:
    return [json.loads(line) for line in FEED.read_text(encoding="utf-8").splitlines()]


def texts() -> list[str]:
    """Every text of the feed, and one with every kind of character."""
    found = {ALL_KINDS, SURROGATE}
    for row in events():
        found.update(value for value in row.values() if isinstance(value, str))
        found.update(row["received"])
    return sorted(found)


def _simulated(shell: Shell) -> Path:
    out = shell.folder / "out"
    shell.run("simulate", "--feed", str(FEED), "--until", "2026-12-31", "--out", str(out))
    for file in out.iterdir():
        assert_visible(file.read_text(encoding="utf-8"))
    return out


def _inspect(shell: Shell) -> None:
    file = shell.folder / "message"
    for row in events():
        lines = "".join(f"Received: {line}\n" for line in row["received"])
        file.write_bytes(lines.encode("utf-8", "surrogatepass"))
        shell.run("inspect", str(file))
        shell.run("inspect", str(file), "--json")
    shell.run("inspect", f"{ALL_KINDS}".replace("\0", ""))


def _replay(shell: Shell) -> None:
    shell.run("replay", "--feed", ALL_KINDS.replace("\0", ""), "--out", str(shell.folder))
    shell.run("replay", "--feed", str(FEED), "--until", ALL_KINDS, "--out", str(shell.folder))


def _table(shell: Shell) -> None:
    out = _simulated(shell)
    shell.run("table", str(out))
    # Files may be of an older version, or of somebody else: nothing in them may be trusted.
    for name in ("servers", "verdicts"):
        rows = [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]
        for row in rows:
            row["tenant_id"], row["server"] = ALL_KINDS, ALL_KINDS
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "\\x1b" in shell.run("table", str(out))
    assert "\\x1b" in shell.run("servers", "list", "--results", str(out))


def _servers(shell: Shell) -> None:
    rows = _hostile_servers(shell)
    for form in ([], ["--json"], ["--jsonl"], ["--csv"]):
        assert "forged" in shell.run("servers", "list", "--servers", rows, *form)
    for row in Path(rows).read_text().splitlines():
        name, tenant = json.loads(row)["server"], json.loads(row)["tenant_id"]
        assert "Evidence" in shell.run("servers", "show", "--tenant", tenant, "--servers", rows, "--", name)
        shell.run("servers", "show", "--tenant", tenant, "--servers", rows, "--json", "--", name)
    shell.run("servers", "show", ALL_KINDS, "--servers", rows)


def _hostile_servers(shell: Shell) -> str:
    """Rows of the feed, and each with every kind of character in every text."""
    file = _simulated(shell) / "servers.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in list(rows[:1]):
        other = {name: ALL_KINDS if name in _FREE_TEXTS else value for name, value in row.items()}
        other["evidence"] = {
            name: ALL_KINDS if name in _FREE_TEXTS else value for name, value in (row["evidence"] or {}).items()
        } or None
        rows.append(other)
    formula = {**rows[0], "server": "=cmd|' /C calc'!A0", "connector_id": " +1", "reason": "@SUM(1)", "source_ip": "-2"}
    rows.append(formula)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


_FREE_TEXTS = (
    "server",
    "server_fqdn",
    "connector_id",
    "source_ip",
    "reason",
    "exchange_server",
    "tenant_id",
    "received",
    "helo",
    "message_id",
    "tls_subject",
)


def _whatif(shell: Shell) -> None:
    rows = _hostile_servers(shell)
    for form in ([], ["--json"], ["--csv"]):
        assert "forged" in shell.run("whatif", "--servers", rows, "--policy", str(_lenient(shell)), *form)
    shell.run("whatif", "--servers", rows, "--policy", ALL_KINDS.replace("\0", ""))


def _policy(shell: Shell) -> None:
    hostile = shell.folder / "bad\x1b[31m\u202e.yaml"
    hostile.write_text(f'policy_id: "{json.dumps(ALL_KINDS)[1:-1]}"\nversion: "\\u202e"\n"\\u001b": 1\n')
    shell.run("policy", "check", str(hostile))
    sound = replace(read_policy("microsoft-2026-09"), policy_id=ALL_KINDS)
    shell.patch.setattr(policy, "published_policies", lambda _: [sound])

    async def publish(*_: Any) -> Any:
        return sound

    shell.patch.setattr(policy, "publish", publish)
    shell.run("policy", "publish", str(hostile))
    shell.run("policy", "publish", "strict-critical")
    shell.run("policy", "mode", "observe")
    for form in ([], ["--json"]):
        shell.run("policy", "list", *form)
        shell.run("policy", "show", ALL_KINDS, *form)
    shell.run("policy", "list", "--jsonl")
    shell.run("policy", "diff", ALL_KINDS, "strict-critical")


def _catalogue(shell: Shell) -> None:
    hostile = shell.folder / "bad\x1b[31m\u202e"
    write_tables(tables(), hostile)
    shell.run("catalogue", "check", str(hostile))
    (hostile / "exchange_sources.csv").write_text(f"source\n{ALL_KINDS}\n")
    shell.run("catalogue", "publish", str(hostile), "--effective-at", "2090-01-01")
    shell.run("catalogue", "publish", str(hostile), "--effective-at", ALL_KINDS.replace("\0", ""), "--by", ALL_KINDS)
    shell.run("catalogue", "diff", "builtin", str(hostile))
    with (hostile / "exchange_builds.csv").open("a") as file:
        file.write(f'"{ALL_KINDS}",,,,1.2,,,,\n')
    shell.run("catalogue", "check", str(hostile))
    known = StoredCatalogue(published(1, 0, tables()), tables(), ALL_KINDS, ALL_KINDS)

    async def stored(*_: Any) -> list[StoredCatalogue]:
        return [known]

    shell.patch.setattr(catalogue, "read_stored", stored)
    shell.patch.setattr(catalogue, "_stored", stored)
    for form in ([], ["--json"]):
        shell.run("catalogue", "list", *form)
        shell.run("catalogue", "show", "1", *form)
        shell.run("catalogue", "diff", "1", "builtin", *form)
    for action in (["list"], ["diff", "1", "builtin"]):
        shell.run("catalogue", *action, "--jsonl")
    shell.run("catalogue", "show", "1", "--out", str(hostile))
    shell.run("catalogue", "show", ALL_KINDS.replace("\0", ""))


def _commands(shell: Shell) -> None:
    async def give(*_: Any) -> AuditRecord:
        names = ("audit_id", "command_id", "tenant_id", "reason", "issued_by", "before", "after")
        rest: dict[str, Any] = dict.fromkeys(names, ALL_KINDS)
        return AuditRecord(
            kind=CommandKind.PAUSE_CREATE,
            outcome=CommandOutcome.REFUSED,
            occurred_at=0,
            quota_left_days=5,
            **rest,
        )

    shell.patch.setattr(submission, "_submit", give)
    end = ["--reason", ALL_KINDS, "--expires-at", "2027-01-01"]
    server = ["--server", ALL_KINDS]
    for words in (
        ["pause", "create", "--days", "5"],
        ["pause", "extend", "--days", "5", *server],
        ["pause", "cancel"],
        ["exception", "grant", *server, "--owner", ALL_KINDS, *end],
        ["exception", "revoke", *server],
        ["override", "set", *server, "--build", ALL_KINDS, *end],
        ["override", "build", *server, "--build", ALL_KINDS, *end],
    ):
        shell.run(*words, "--tenant", ALL_KINDS)
        shell.run(*words, "--tenant", ALL_KINDS, "--json")

    async def refuse(*_: Any) -> AuditRecord:
        raise ValueError(f"server: {ALL_KINDS}: is unknown")

    shell.patch.setattr(submission, "_submit", refuse)
    shell.run("pause", "cancel", "--tenant", "x", "--by", SURROGATE)


def _letters() -> Iterator[DeadLetter]:
    for number, text in enumerate(texts()):
        raw = text.encode("utf-8", "surrogatepass")
        yield DeadLetter(
            "connections", 0, number, 0, raw, raw, ((text, raw),), text, {text: text}, text, raw,
            Disposition(DispositionKind.DISCARDED, 0, text, text),
        )  # fmt: skip


def _dlq(shell: Shell) -> None:
    async def read(_: Any, wanted: Any) -> AsyncIterator[DeadLetter]:
        for letter in _letters():
            if not wanted.places or letter.offset == wanted.places[0][2]:
                yield letter

    async def handle(*_: Any) -> RedriveResult:
        return RedriveResult(list(_letters()), [(letter, letter.error) for letter in _letters()])

    shell.patch.setattr(dlq, "read_letters", read)
    shell.patch.setattr(dlq, "handle", handle)
    for form in ([], ["--json"]):
        shell.run("dlq", "list", "--handled", *form)
        for number in range(len(texts())):
            shell.run("dlq", "show", f"connections/0/{number}", *form)
        shell.run("dlq", "redrive", "--all", *form)
        shell.run("dlq", "replay", "--all", *form)
        shell.run("dlq", "discard", "--all", "--reason", ALL_KINDS, *form)
    for action in (["list", "--handled"], ["redrive", "--all"], ["discard", "--all", "--reason", ALL_KINDS]):
        shell.run("dlq", *action, "--jsonl")
    assert "\\x1b" in shell.run("dlq", "show", ALL_KINDS)


def _state(shell: Shell) -> None:
    row = {"due_at": None, "revision": 5, "state": {ALL_KINDS: ALL_KINDS, "list": [ALL_KINDS], "none": None}}
    verdict = {
        "throttle_minutes_per_hour": 5, "block_minutes_per_hour": 0, "revision": 1, "action": "THROTTLE", "stage": 2,
        "reason": ALL_KINDS,
    }  # fmt: skip
    notification = {"kind": ALL_KINDS, "title": ALL_KINDS}
    audit = {"kind": "PAUSE_CREATE", "outcome": "REFUSED", "reason": ALL_KINDS, "issued_by": ALL_KINDS}
    history = [
        {"at": "2026-09-01", "kind": kind, "server": ALL_KINDS, "record": record}
        for kind, record in (("VERDICT", verdict), ("NOTIFICATION", notification), ("AUDIT", audit))
    ]

    async def find(*_: Any) -> ServerHistory:
        return ServerHistory(0, {}, row, row, row, history)

    async def export(_: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"key": ALL_KINDS}

    shell.patch.setattr(state, "load_history", find)
    shell.patch.setattr(state, "export", export)
    for form in ([], ["--json"]):
        shell.run("state", "get", "contoso", ALL_KINDS, *form)
    shell.run("state", "get", ALL_KINDS, "x")
    for form in ([], ["--json"], ["--jsonl"]):
        shell.run("state", "export", *form)


def _backup(shell: Shell) -> None:
    manifest: dict[str, Any] = {
        "version": VERSION, "created_at": ALL_KINDS, "app_id": ALL_KINDS, "topic_prefix": "", "is_live": False,
        "state_format": -1, "topics": {ALL_KINDS: []}, "markers": [],
    }  # fmt: skip
    manifest["sha256"] = digest_of(manifest)

    async def create(*_: Any) -> dict[str, Any]:
        return manifest

    shell.patch.setattr(backup, "create_backup", create)
    (shell.folder / MANIFEST).write_text(json.dumps(manifest))
    for action in ("create", "check", "restore"):
        for form in ([], ["--json"]):
            shell.run("backup", action, str(shell.folder), *form)
            shell.run("backup", action, str(shell.folder / "a\x1b\u202e\nforged"), *form)
    manifest["version"] = ALL_KINDS
    (shell.folder / MANIFEST).write_text(json.dumps(manifest))
    assert "\\x1b" in shell.run("backup", "check", str(shell.folder))


def _repartition(shell: Shell) -> None:
    async def move(*_: Any) -> Any:
        raise TopicContentError(f"topic {ALL_KINDS}: holds records")

    shell.patch.setattr(repartition, "repartition", move)
    shell.run("repartition", "--partitions", "5", "--to-prefix", ALL_KINDS)


def _service(shell: Shell) -> None:
    for variable in ("TES_POLICY", "TES_LOG_FORMAT", "TES_PARTITIONS", "TES_KAFKA_BOOTSTRAP", "TES_\x1b[31m\u202e"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(variable, ALL_KINDS.replace("\0", ""))
            for words in (["worker"], ["topics", "create"], ["config", "check"], ["config", "show"]):
                if variable != "TES_KAFKA_BOOTSTRAP" or words[0] == "config":
                    shell.run(*words)


def _connectors(shell: Shell) -> None:
    record = {
        "tenant_id": "contoso", "connector_id": ALL_KINDS, "type": "PARTNER", "tls_subjects": [ALL_KINDS],
        "tls_fingerprints": [ALL_KINDS], "cidrs": [ALL_KINDS], "published_at": 0, "published_by": ALL_KINDS,
    }  # fmt: skip

    async def read(_: Any) -> list[dict[str, Any]]:
        return [record]

    shell.patch.setattr(connectors, "read_published_connectors", read)
    for form in ([], ["--json"], ["--jsonl"]):
        shell.run("connectors", "list", *form)
    file = shell.folder / "a\x1b\u202e.yaml"
    shell.run("connectors", "check", str(file))
    for text in texts():
        named = text.encode("utf-8", "replace").decode()
        file.write_text(json.dumps([{"connector_id": named, "tenant_id": named, "type": named, named: named}]))
        shell.run("connectors", "check", str(file))
    shell.run("connectors", "publish", str(file), "--by", ALL_KINDS)


def _schemas(shell: Shell) -> None:
    with RegistryServer(is_empty=True) as server:
        shell.patch.setenv("TES_SCHEMA_REGISTRY_URL", server.url)
        shell.patch.setenv("TES_TOPIC_PREFIX", "a\x1b\u202e.")
        refused, unknown = (200, {"is_compatible": False, "messages": [ALL_KINDS]}), (404, dict[str, Any]())
        for answer in (
            lambda path, _: (500, {"message": ALL_KINDS}),
            lambda path, _: unknown if path[0] == "subjects" else refused,
        ):
            shell.patch.setattr(server, "answer", answer)
            for action in ("check", "register"):
                for form in ([], ["--json"]):
                    shell.run("schemas", action, *form)


def _doctor(shell: Shell) -> None:
    async def found(_: Any) -> AsyncIterator[Finding]:
        yield problem(ALL_KINDS, ALL_KINDS, "docs/README.md")

    shell.patch.setattr(doctor, "examine", found)
    shell.patch.setenv("TES_REPORT_DIR", str(shell.folder / "no\x1b\u202e"))
    for form in ([], ["--json"]):
        assert "forged" in shell.run("doctor", *form)


def _edge(shell: Shell) -> None:
    shell.patch.setenv("TES_EDGE_DIR", str(shell.folder / "edge"))
    file = shell.folder / "message"
    for row in events():
        file.write_bytes("".join(f"Received: {line}\n" for line in row["received"]).encode("utf-8", "surrogatepass"))
        for form in ([], ["--json"]):
            given = ("--file", str(file), "--ip", "192.0.2.1", "--tenant", "contoso", "--connector", "c")
            shell.run("edge", "decide", *given, "--helo", ALL_KINDS, *form)
    for option in ("--ip", "--tenant", "--tls-fingerprint", "--at", "--verdict", "--file"):
        shell.run("edge", "decide", "--ip", "192.0.2.1", "--file", str(file), option, ALL_KINDS.replace("\0", ""))
    shell.patch.setenv("TES_EDGE_CONNECTORS", ALL_KINDS.replace("\0", ""))
    for form in ([], ["--json"]):
        shell.run("edge", "config", *form)
    shell.patch.setenv("TES_EDGE_MODE", ALL_KINDS.replace("\0", ""))
    for words in (["edge"], ["edge", "door"], ["edge", "sync"], ["edge", "config"]):
        assert "TES_EDGE_MODE" in shell.run(*words)


def _report(shell: Shell) -> None:
    shell.patch.setenv("TES_REPORT_DIR", str(shell.folder / "report"))

    async def compared(*_: Any, **__: Any) -> Any:
        return Compared(1, 0, [Difference("server", ("contoso", ALL_KINDS), ALL_KINDS)])

    async def refused(*_: Any, **__: Any) -> Any:
        raise TopicError(f"{ALL_KINDS}: does not exist")

    shell.patch.setattr(comparing, "compare", compared)
    shell.run("report", "check")
    for module, name, action in ((comparing, "compare", "check"), (rebuild, "rebuild", "rebuild")):
        shell.patch.setattr(module, name, refused)
        shell.run("report", action)
    for form in ([], ["--json"]):
        shell.run("report", "config", *form)
    shell.patch.setenv("TES_REPORT_SCHEMA", ALL_KINDS.replace("\0", ""))
    for words in (["report"], *(["report", action] for action in ("config", "check", "rebuild", "migrate"))):
        assert "TES_REPORT_SCHEMA" in shell.run(*words)


def _notify(shell: Shell) -> None:
    shell.patch.setenv("TES_REPORT_DIR", str(shell.folder / "notify"))
    with closing(open_ledger(read_notify_settings())) as database:
        database.migrate()
        destination = add_destination(database)
        subscribe(database, destination)
        with database.writing() as connection:
            # Whatever rule a later version has of names, what is there stays.
            connection.execute(update(DESTINATION).values(name=ALL_KINDS))
        refusal = Outcome(OutcomeKind.FAILED, 503, ALL_KINDS)
        site = Site(database, channel=RecordingChannel(lambda _, __: refusal))
        site.record(notice(0, server=ALL_KINDS, title=ALL_KINDS, text=ALL_KINDS))
        site.deliver(after=MINUTE_MS)
    for form in ([], ["--json"], ["--jsonl"], ["--notification", "n0"], ["--notification", "n0", "--json"]):
        assert "503" in shell.run("notify", "log", *form) or form != ["--notification", "n0"]
    shell.run("notify", "test", ALL_KINDS)
    shell.run("notify", "test", destination.destination_id, "--wait", "0")
    for form in ([], ["--json"]):
        shell.run("notify", "config", *form)
    shell.patch.setenv("TES_REPORT_SCHEMA", ALL_KINDS.replace("\0", ""))
    for words in (["notify"], *(["notify", action] for action in ("config", "log", "migrate"))):
        assert "TES_REPORT_SCHEMA" in shell.run(*words)


def _kafka(shell: Shell) -> None:
    folder = shell.folder / "data\x1b\u202e"
    shell.run("kafka", "stop", "--data-dir", str(folder))
    folder.mkdir()
    (folder / "running.json").write_text("{")
    shell.run("kafka", "start", "--data-dir", str(folder))


def _verdicts(shell: Shell) -> None:
    verdict = dict.fromkeys(("reason", "server", "tenant_id"), ALL_KINDS * 100) | {
        "issued_at": 0, "action": "BLOCK", "stage": 8, "throttle_minutes_per_hour": 0, "block_minutes_per_hour": 60,
    }  # fmt: skip
    keys = [f"contoso/{ALL_KINDS * 100}", ALL_KINDS, "contoso/mx1"]
    topic = MemoryTopic([Partition()])
    for key in keys:
        for value in (b"x", None, b"y"):
            topic.put(SimpleNamespace(topic="t", partition=0, offset=0, timestamp=0, key=key.encode(), value=value))
    shell.patch.setattr(verdicts, "KafkaLog", lambda *_, **__: MemoryLog(topic))

    def decode(_: Any, value: bytes) -> Any:
        if value == b"y":
            raise ValueError(ALL_KINDS * 100)
        return verdict

    shell.patch.setattr(AvroCodec, "decode", decode)
    for form in ([], ["--jsonl"]):
        shown = shell.run("verdicts", "tail", "--no-follow", "--from-beginning", *form)
        assert "forged" in shown
        assert form or max(map(len, shown.splitlines())) <= 300
    shell.run("verdicts", "tail", "--tenant", ALL_KINDS)


class HostileService:
    """In place of a watch: a service whose names are hostile."""

    def __init__(self, _: Any) -> None:
        self.sign = PartitionProgress(0, None, 0, ALL_KINDS, 1, ALL_KINDS, ALL_KINDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def wait_for_servers(self) -> None:
        pass

    async def look(self) -> Activity:
        partition = PartitionActivity(0, 5, 1.0, ALL_KINDS, self.sign, 5.0)
        worker = WorkerActivity(ALL_KINDS, ALL_KINDS * 100, (0,))
        return Activity(0, 1.0, 1.0, None, 5, (partition,), (worker,), {0: 1}, {ALL_KINDS: 1}, True)


def _top(shell: Shell) -> None:
    shell.patch.setattr(top, "ActivityWatch", HostileService)
    shell.patch.setattr(top, "_ONCE_SECONDS", 0.0)
    for form in ([], ["--once"], ["--json"]):
        assert "forged" in shell.run("top", *form)
    shell.run("top", "--interval", ALL_KINDS)


def _emit(shell: Shell) -> None:
    shell.run("emit", str(FEED), "--dry-run")
    hostile = shell.folder / "bad"
    rows = [{**row, name: ALL_KINDS * 100} for row in events()[:1] for name in (*row, ALL_KINDS)]
    hostile.write_text("".join(json.dumps(row) + "\n" for row in rows) + f"{ALL_KINDS}\n")
    assert "nothing was sent" in shell.run("emit", str(hostile))
    shell.run("emit", ALL_KINDS.replace("\0", ""))


def _completion(shell: Shell) -> None:
    shell.run("completion", "bash")
    shell.run("completion", ALL_KINDS)


CASES: dict[str, Callable[[Shell], Any]] = {
    "inspect": _inspect,
    "simulate": _simulated,
    "replay": _replay,
    "table": _table,
    "servers": _servers,
    "policy": _policy,
    "catalogue": _catalogue,
    "whatif": _whatif,
    "pause": _commands,
    "exception": _commands,
    "override": _commands,
    "dlq": _dlq,
    "state": _state,
    "backup": _backup,
    "repartition": _repartition,
    "worker": _service,
    "topics": _service,
    "config": _service,
    "schemas": _schemas,
    "doctor": _doctor,
    "connectors": _connectors,
    "edge": _edge,
    "report": _report,
    "notify": _notify,
    "kafka": _kafka,
    "top": _top,
    "verdicts": _verdicts,
    "emit": _emit,
    "completion": _completion,
}
"""What runs every action of a command."""


def actions(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and action."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield words
    for group in groups:
        for name, inner in group.choices.items():
            yield from actions(inner, (*words, name))


def test_every_command_has_its_case() -> None:
    assert {words[0] for words in actions(build_parser()[0])} == set(CASES)


@pytest.mark.parametrize("command", CASES)
def test_no_command_prints_what_a_terminal_obeys(command: str, shell: Shell) -> None:
    ran: set[tuple[str, ...]] = set()
    run = shell.run

    def noting(*words: str) -> str:
        ran.add(words)
        return run(*words)

    shell.run = noting  # type: ignore[method-assign]
    CASES[command](shell)
    for words in actions(build_parser()[0]):
        if words[0] == command:
            assert any(line[: len(words)] == words for line in ran), f"{words} was not run"


@pytest.mark.parametrize("words", [[], ["pause"], ["servers", "list"]])
def test_a_wrong_argument_is_shown_visibly(words: list[str], shell: Shell) -> None:
    shell.run(*words, ALL_KINDS)
    shell.run(*words, f"--{ALL_KINDS}")
    shell.run(*words, SURROGATE)


def test_an_unexpected_error_is_shown_visibly(shell: Shell) -> None:
    def fail(_: Any) -> Any:
        raise RuntimeError(ALL_KINDS)

    shell.patch.setattr(policy, "published_policies", fail)
    assert "Traceback" in shell.run("policy", "list")


def _lenient(shell: Shell) -> Path:
    """A policy that changes what becomes of every server of the feed."""
    file = shell.folder / "lenient.yaml"
    lenient = replace(read_policy("microsoft-2026-09"), policy_id="lenient", mode=Mode.OBSERVE)
    file.write_text(policy_yaml(replace(lenient, effective_at=datetime(2027, 1, 1, tzinfo=UTC))))
    return file


def test_no_csv_of_hostile_servers_holds_a_formula(shell: Shell) -> None:
    rows = _hostile_servers(shell)
    for words in (["servers", "list"], ["whatif", "--policy", str(_lenient(shell))]):
        table = list(csv.reader(io.StringIO(shell.run(*words, "--servers", rows, "--csv"))))
        cells = [cell for row in table[1:] for cell in row]
        assert any(cell.startswith("'=") for cell in cells)
        assert not [cell for cell in cells if cell.lstrip()[:1] in tuple("=+-@")]


# --- the streams themselves ---

TES = shutil.which("tes", path=str(Path(sys.executable).parent)) or "tes"


def end_of(command: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a line of shell."""
    done = subprocess.run(
        ["bash", "-c", command.replace("tes ", f"{TES} ", 1)],
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "words", ["", "--help", "--version", "policy show strict-critical", "config show", "config show --json"]
)
@pytest.mark.parametrize(("where", "why"), [("> /dev/full", "No space left on device"), (">&-", "Bad file descriptor")])
def test_output_that_cannot_be_written_is_one_line(words: str, where: str, why: str) -> None:
    assert end_of(f"tes {words} {where}") == (1, "", f"tes: standard output: {why}\n")


@pytest.mark.parametrize("where", ["2> /dev/full", "2>&-"])
def test_messages_that_cannot_be_written_change_nothing(where: str) -> None:
    code, out, _ = end_of(f"tes inspect no-such-file {where}")
    assert (code, out) == (2, "")


def test_a_reader_that_goes_away_after_the_help_gives_no_traceback() -> None:
    assert end_of("tes --help | true; exit ${PIPESTATUS[0]}")[2] == ""


def test_names_are_shown_whatever_the_character_set_of_the_terminal_is() -> None:
    code, _, err = end_of("env PYTHONIOENCODING=ascii:strict tes inspect 邮件")
    assert code == 2
    assert "\\u90ae" in err


def test_bare_tes_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("usage: tes")
    assert not shown.err


@pytest.mark.parametrize("module", ["argparse", "aiokafka", "streams.cli.main", "streams.worker.wiring"])
def test_ctrl_c_while_the_product_is_loaded_ends_it_without_a_word(module: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import builtins, os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, wherever the tests run
real = builtins.__import__
def loading(name, *rest, **named):
    if name == {module!r}:
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *rest, **named)
from streams.cli.start import run
builtins.__import__ = loading
run()
"""
    )
    done = subprocess.run(
        [sys.executable, str(program), "config", "show"], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
