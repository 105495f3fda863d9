"""The door as a process: it starts, answers, tells, shows itself, and ends in order; and two of them under one roof."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from streams.domain.policy.policy import ConnectorType
from streams.domain.server.connection import InboundConnection
from streams.edge.door_process import event_encoder
from streams.wire.codec import AvroCodec
from streams.wire.records import to_record
from streams.wire.registry import LocalRegistry
from tests.support.edge_files import fill_table, verdict_of, waiting_ids
from tests.support.edge_process import SECONDS, EdgeSite, edge_site
from tests.support.waiting import until_true

CONNECTORS = '- {connector_id: main, tenant_id: contoso, type: ON_PREMISES, match: {cidrs: ["192.0.2.0/24"]}}\n'
SERVER = "mail1.contoso.example"
LINE = f"from a by {SERVER} (192.0.2.1) with Microsoft SMTP Server id 15.1.2507.39; Tue, 1 Sep 2026 00:00:00 +0000"
MESSAGE = {"source_ip": "192.0.2.1", "helo": SERVER, "received": [LINE]}


def run(folder: Path, act: Callable[[EdgeSite], Awaitable[None]], *words: str, **settings: str) -> None:
    async def acting() -> None:
        async with edge_site(folder, *words, **settings) as site:
            await act(site)

    asyncio.run(acting())


def connectors(folder: Path, text: str = CONNECTORS) -> dict[str, str]:
    (folder / "connectors.yaml").write_text(text, encoding="utf-8")
    return {"TES_EDGE_CONNECTORS": str(folder / "connectors.yaml")}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_the_body_of_an_event_names_the_schema_that_ships() -> None:
    connector = ConnectorType.ON_PREMISES
    event = InboundConnection("e1", now_ms(), "contoso", "main", connector, "192.0.2.1", SERVER, (LINE,))
    assert AvroCodec("inbound_connection", LocalRegistry()).decode(event_encoder()(event)) == to_record(event)


@pytest.mark.timeout(180)
def test_a_door_without_kafka_answers_and_tells_and_ends_with_0(tmp_path: Path) -> None:
    async def act(site: EdgeSite) -> None:
        await site.until("/startupz", lambda status, _: status == 200)
        answer = await site.ask(MESSAGE)
        assert (answer["action"], answer["cause"]) == ("accept", "NO_VERDICT")
        assert waiting_ids(tmp_path) == [answer["event_id"]]
        assert (await site.ask({**MESSAGE, "source_ip": "198.51.100.1"}))["cause"] == "UNMATCHED"
        status, ready = await site.get("/readyz")
        assert (status, ready["why"], ready["trust"]) == (503, "empty", "empty")
        assert ready["sync"] == {"alive": False, "seconds_ago": None}
        assert ready["connectors"] == {"file": 1, "topic": 0, "errors": []}
        assert ready["spool"]["events"] == 1
        assert (await site.get("/livez"))[0] == 200
        _, page = await site.get("/metrics")
        assert 'tes_edge_decisions_total{action="ACCEPT",cause="NO_VERDICT",moment="message"} 1.0' in page
        assert "tes_edge_unmatched_messages_total 1.0" in page
        assert 'tes_edge_trust{trust="EMPTY"} 1.0' in page
        assert "tes_edge_spool_events 1.0" in page
        assert (tmp_path / "milter.sock").exists()
        assert await site.end() == 0
        assert not (tmp_path / "milter.sock").exists()
        assert not (tmp_path / "http.sock").exists()
        assert "edge door exiting with code 0" in site.log

    run(tmp_path, act, "door", **connectors(tmp_path))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", ["decided", "stored"])
def test_whoever_was_answered_before_a_kill_is_told_of(tmp_path: Path, point: str) -> None:
    answered: list[str] = []

    async def act(site: EdgeSite) -> None:
        await site.until("/startupz", lambda status, _: status == 200)

        async def ask_on() -> None:
            with contextlib.suppress(aiohttp.ClientError):
                while True:
                    answered.append((await site.ask(MESSAGE))["event_id"])

        await asyncio.gather(*(ask_on() for _ in range(20)))
        assert await site.ended() == -signal.SIGKILL

    run(tmp_path, act, "door", TES_EDGE_CRASH_AT=f"{point}:30", **connectors(tmp_path))
    assert len(answered) >= 29
    assert set(answered) <= set(waiting_ids(tmp_path))


@pytest.mark.timeout(180)
def test_a_door_enforces_what_is_on_disk_and_notices_when_it_becomes_old(tmp_path: Path) -> None:
    verdict = verdict_of()._replace(throttle_minutes_per_hour=0, block_minutes_per_hour=60, schedule=())
    fill_table(tmp_path, verdict, confirmed_at=now_ms())

    async def act(site: EdgeSite) -> None:
        await site.until("/readyz", lambda status, _: status == 200)
        answer = await site.ask(MESSAGE)
        assert (answer["action"], answer["code"]) == ("reject", 550)
        fill_table(tmp_path, verdict, confirmed_at=now_ms() - 25 * 3_600_000)
        ready = await site.until("/readyz", lambda _, body: body["trust"] == "aged")
        assert ready["ready"]
        assert (await site.ask(MESSAGE))["code"] == 450
        fill_table(tmp_path, verdict, confirmed_at=now_ms() - 73 * 3_600_000)
        await site.until("/readyz", lambda status, body: (status, body["why"]) == (503, "stale"))
        assert (await site.ask(MESSAGE))["cause"] == "STALE"
        assert "so all mail is accepted" in site.log

    run(tmp_path, act, "door", TES_EDGE_MODE="enforce", **connectors(tmp_path))


@pytest.mark.timeout(180)
def test_a_changed_file_of_connectors_is_used_and_a_bad_one_is_told(tmp_path: Path) -> None:
    async def act(site: EdgeSite) -> None:
        await site.until("/startupz", lambda status, _: status == 200)
        (tmp_path / "connectors.yaml").write_text(CONNECTORS.replace("192.0.2.0/24", "192.0.2.1/24"), encoding="utf-8")
        ready = await site.until("/readyz", lambda _, body: bool(body["connectors"]["errors"]))
        assert "has bits set behind the prefix" in ready["connectors"]["errors"][0]
        assert (await site.ask(MESSAGE))["cause"] == "NO_VERDICT"
        (tmp_path / "connectors.yaml").write_text("[]", encoding="utf-8")
        await site.until("/readyz", lambda _, body: body["connectors"]["file"] == 0)
        assert (await site.ask(MESSAGE))["cause"] == "UNMATCHED"
        assert "tes_edge_connectors_refused_total 1.0" in (await site.get("/metrics"))[1]

    run(tmp_path, act, "door", **connectors(tmp_path))


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"TES_EDGE_CONNECTORS": "/none.yaml"}, "/none.yaml: must be a readable file: No such file"),
        ({"TES_EDGE_MODE": "x"}, "TES_EDGE_MODE: 'x': must be report or enforce"),
        ({"TES_EDGE_HTTP": "unix:/none/http.sock"}, "unix:/none/http.sock: cannot listen there"),
        ({"TES_EDGE_DIR": "/dev/null"}, "TES_EDGE_DIR: /dev/null: must be a folder"),
    ],
)
@pytest.mark.parametrize("words", [("door",), ()])
def test_an_edge_that_cannot_start_says_why_and_ends(
    tmp_path: Path, settings: dict[str, str], said: str, words: tuple[str, ...]
) -> None:
    async def act(site: EdgeSite) -> None:
        assert await site.ended() == 2
        assert said in site.log

    run(tmp_path, act, *words, **settings)


@pytest.mark.timeout(180)
def test_a_sync_without_kafka_says_so_once_for_each_part_and_floods_no_log(tmp_path: Path) -> None:
    async def act(site: EdgeSite) -> None:
        await site.until("/readyz", lambda _, body: body is not None and len(body["failures"]) >= 3)
        for _ in range(5):
            await asyncio.sleep(1)  # in which it tries again
        assert "aiokafka." not in site.log
        assert site.log.count("ClusterError") == 3, site.log

    run(tmp_path, act, "sync", TES_KAFKA_BOOTSTRAP="127.0.0.1:1")


def password_in_a_file(path: Path, password: str) -> dict[str, str]:
    path.write_text(password, encoding="utf-8")
    return {
        "TES_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "TES_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "TES_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "TES_KAFKA_USER": "edge",
        "TES_KAFKA_PASSWORD_FILE": str(path),
    }


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["door", "sync"])
def test_a_password_that_a_file_holds_is_in_no_line_of_the_log(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "hunter2"
    folder.mkdir()

    async def act(site: EdgeSite) -> None:
        await site.until("/startupz", lambda status, _: status == 200)
        assert await site.end() == 0
        assert "starting" in site.log
        assert "hunter2" not in site.log
        assert f"{tmp_path}/(redacted)" in site.log

    settings = {**password_in_a_file(tmp_path / "password", "hunter2"), "TES_LOG_FORMAT": "json"}
    run(folder, act, name, **settings)


@pytest.mark.parametrize("name", ["door", "sync"])
def test_a_folder_is_of_one_process_of_each_kind(tmp_path: Path, name: str) -> None:
    settings = {"TES_KAFKA_BOOTSTRAP": "127.0.0.1:1", "TES_ALLOW_PLAINTEXT": "1"}

    async def act(site: EdgeSite) -> None:
        await site.until("/startupz", lambda status, _: status == 200)
        (tmp_path / "other").mkdir()
        elsewhere = {
            "TES_EDGE_HTTP": "",
            "TES_EDGE_MILTER": f"unix:{tmp_path}/other/milter.sock",
            "TES_EDGE_DIR": str(tmp_path),
        }
        async with edge_site(tmp_path / "other", name, **settings, **elsewhere) as second:
            assert await second.ended() == 2
            assert f"TES_EDGE_DIR: {tmp_path}: another {name} runs there" in second.log
        assert await site.end() == 0
        async with edge_site(tmp_path / "other", name, **settings, **elsewhere) as third:
            await third.until("/startupz", lambda status, _: status == 200)

    run(tmp_path, act, name, **settings)


PART = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
pathlib.Path({folder!r}, f"{{sys.argv[1]}}-{{os.getpid()}}").touch()
time.sleep(600)
"""
PARENT = """
import sys
from streams.edge.supervisor import run_both
from streams.settings.edge import read_edge_settings
sys.exit(run_both(read_edge_settings(), [sys.executable, {part!r}]))
"""


def pids(folder: Path, part: str) -> set[int]:
    return {int(path.name.rpartition("-")[2]) for path in folder.glob(f"{part}-*")}


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_dies_is_started_again_and_both_end_with_their_parent(tmp_path: Path, number: int) -> None:
    script = tmp_path / "part.py"
    script.write_text(PART.format(folder=str(tmp_path)), encoding="utf-8")

    async def acting() -> None:
        parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT.format(part=str(script)))

        async def are_both_up() -> bool:
            return all(any(map(is_running, pids(tmp_path, part))) for part in ("door", "sync"))

        await until_true(are_both_up)
        (first,) = pids(tmp_path, "door")
        os.kill(first, signal.SIGKILL)

        async def is_another_up() -> bool:
            return any(map(is_running, pids(tmp_path, "door") - {first}))

        await until_true(is_another_up)
        parent.send_signal(number)
        async with asyncio.timeout(SECONDS):
            assert await parent.wait() == (0 if number == signal.SIGTERM else -signal.SIGKILL)

        async def are_all_gone() -> bool:
            return not any(map(is_running, pids(tmp_path, "door") | pids(tmp_path, "sync")))

        await until_true(are_all_gone)

    asyncio.run(acting())


@pytest.mark.timeout(180)
def test_the_parent_of_both_keeps_a_password_out_of_its_log_too(tmp_path: Path) -> None:
    script = tmp_path / "part.py"
    script.write_text("raise SystemExit(3)", encoding="utf-8")
    environment = {**os.environ, **password_in_a_file(tmp_path / "password", "is started again")}

    async def acting() -> None:
        words = (sys.executable, "-c", PARENT.format(part=str(script)))
        parent = await asyncio.create_subprocess_exec(*words, env=environment, stderr=asyncio.subprocess.PIPE)
        assert parent.stderr is not None
        async with asyncio.timeout(SECONDS):
            line = await parent.stderr.readline()
            parent.terminate()
            await asyncio.gather(parent.stderr.read(), parent.wait())
        assert line.endswith(b"ended with code 3, and (redacted)\n")

    asyncio.run(acting())
