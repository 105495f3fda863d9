"""A replay on a cluster of somebody's own leaves no topic there, however it ends, and touches no other."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streams.cli import replay
from streams.cli.main import main
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.operations.feeds import ReplayError
from streams.settings.worker import Settings

FEED = Path(__file__).parents[1] / "data" / "hostile" / "s5-future-event-other-tenant.jsonl"


async def topics(settings: Settings) -> set[str]:
    admin = cluster_of(settings).admin()
    await admin.start()
    try:
        return set(await admin.list_topics())
    finally:
        await admin.close()


async def gone(settings: Settings, names: set[str]) -> None:
    """Wait until the brokers tell of none of the topics."""
    while names & await topics(settings):
        await asyncio.sleep(0.1)


def arguments(settings: Settings, tmp_path: Path) -> list[str]:
    return ["replay", "--kafka", settings.bootstrap, "--feed", str(FEED), "--out", str(tmp_path / "out")]


@pytest.mark.timeout(150)
def test_a_replay_deletes_its_topics_and_no_other(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(create_topics(settings))
    before = asyncio.run(topics(settings))
    assert main(arguments(settings, tmp_path)) == 0
    assert (tmp_path / "out" / "verdicts.jsonl").read_text()
    after = asyncio.run(topics(settings))
    asyncio.run(gone(settings, {name for name in after if name.startswith("replay-")}))
    assert before <= asyncio.run(topics(settings))
    assert main(["simulate", *arguments(settings, tmp_path)[3:-1], str(tmp_path / "simulated")]) == 0
    for name in ("verdicts", "notifications", "servers"):
        file = f"{name}.jsonl"
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "simulated" / file).read_bytes()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", [ReplayError("a worker failed"), KeyboardInterrupt()])
def test_one_that_fails_or_is_interrupted_does_so_too(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    made = set[str]()

    async def cut_off(own: Settings, *_: Any) -> None:
        made.update(await create_topics(own))
        while not made <= await topics(own):
            await asyncio.sleep(0.1)
        raise end

    monkeypatch.setattr(replay, "replay", cut_off)
    assert main(arguments(settings, tmp_path)) != 0
    assert made
    asyncio.run(gone(settings, made))
