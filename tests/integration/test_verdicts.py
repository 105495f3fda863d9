"""`tes verdicts tail` against a broker and a real worker: what it prints, from where on, of whom."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import replace
from typing import Any

import pytest

from streams.domain.time import DAY_MS
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.operations.feeds import collect, produce_feed, start_worker
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.registry import LocalRegistry
from tests.support.live import line, now_ms, until_found
from tests.support.terminal import Terminal

LEDGER = ("verdicts", "tail", "--from-beginning", "--no-follow", "--jsonl")


async def with_verdicts(settings: Settings, *servers: int) -> None:
    """Verdicts about servers of tenants, as a worker writes them."""
    await create_topics(settings)
    worker = await start_worker(replace(settings, tick_seconds=0.2), None)
    try:
        await produce_feed(settings, [line(server, now_ms() - DAY_MS) for server in servers])
        await until_found(settings, lambda found: len(found.verdicts) >= len(servers))
    finally:
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0


async def write(settings: Settings, key: bytes, value: bytes | None) -> None:
    async with cluster_of(settings).producer() as producer:
        await producer.send_and_wait(settings.topic(TOPICS["verdict"]), value, key=key)


def rows(tes: Any, *words: str) -> list[dict[str, Any]]:
    code, out, _ = tes(*LEDGER, *words)
    assert code == 0
    return [json.loads(row) for row in out.splitlines()]


@pytest.mark.timeout(120)
def test_the_verdicts_are_those_of_the_topic_chosen_by_tenant_and_server(settings: Settings, tes: Any) -> None:
    asyncio.run(with_verdicts(settings, 1, 2, 6))
    found = rows(tes)
    assert {row["server"] for row in found} == {f"mx{number}.example.com" for number in (1, 2, 6)}
    of_tenant = rows(tes, "--tenant", "tenant-1")
    assert {row["server"] for row in of_tenant} == {"mx1.example.com", "mx6.example.com"}
    (of_server,) = rows(tes, "--server", "MX6.example.com")
    assert of_server["tenant_id"] == "tenant-1"
    assert rows(tes, "--tenant", "tenant-2", "--server", "mx1.example.com") == []
    code, out, _ = tes("verdicts", "tail", "--from-beginning", "--no-follow", "--server", "mx2.example.com")
    assert code == 0
    assert "tenant-2" in out
    assert f"{of_server['action']} " in out
    assert tes("verdicts", "tail", "--no-follow") == (0, "", "")  # from now on there is none
    asyncio.run(write(settings, b"tenant-1/mx1.example.com", None))
    assert {"tenant_id": "tenant-1", "server": "mx1.example.com", "is_forgotten": True} in rows(tes)


@pytest.mark.timeout(120)
def test_a_record_that_is_none_is_named_and_passed_over(settings: Settings, tes: Any) -> None:
    asyncio.run(create_topics(settings))
    asyncio.run(write(settings, b"tenant-1/a\x1b[31m", b"\x00\x00\x00\x00\x01\x80\x1b[2J"))
    asyncio.run(write(settings, b"tenant-1/b", None))
    code, out, err = tes(*LEDGER)
    assert code == 0
    assert [json.loads(row)["server"] for row in out.splitlines()] == ["b"]
    assert "offset 0: is no verdict" in err
    assert "\x1b" not in err


@pytest.mark.timeout(120)
@pytest.mark.parametrize("form", [LEDGER, LEDGER[:-1]])
def test_a_verdict_of_a_time_that_no_calendar_has_is_named_and_passed_over(
    settings: Settings, tes: Any, form: tuple[str, ...]
) -> None:
    asyncio.run(with_verdicts(settings, 1))
    codec = AvroCodec("verdict", LocalRegistry())

    async def odd() -> None:
        (verdict,) = (await collect(settings)).verdicts
        await write(settings, b"tenant-1/odd", codec.encode(verdict | {"issued_at": 1 << 62}))
        await write(settings, b"tenant-1/last", None)

    asyncio.run(odd())
    code, out, err = tes(*form)
    assert (code, len(out.splitlines())) == (0, 2)
    assert "is no verdict" in err


@pytest.mark.timeout(120)
def test_what_is_written_is_followed_on_a_terminal_until_ctrl_c(settings: Settings) -> None:
    asyncio.run(create_topics(settings))
    hostile = "tenant-1/\x1b[2Jforged\r\n\u202e".encode() + b"x" * 3_000
    with Terminal("verdicts", "tail", columns=80, env=settings.environment()) as terminal:
        terminal.wait_for("Ctrl-C ends it")
        asyncio.run(write_until_seen(settings, terminal, hostile))
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
    lines = terminal.text.replace("\r\n", "\n").splitlines()
    assert max(map(len, lines[1:])) <= 80
    assert "\x1b" not in terminal.text
    assert "Traceback" not in terminal.text


async def write_until_seen(settings: Settings, terminal: Terminal, key: bytes) -> None:
    """Where it begins to follow, nobody tells: a record in front of that place is not shown."""
    while "FORGOTTEN" not in terminal.text and "forged" not in terminal.text:
        await write(settings, key, None)
        await asyncio.sleep(0.2)
