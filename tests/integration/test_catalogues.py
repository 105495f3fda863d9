"""Catalogues that are published while workers run: all judge by them from their moment on, and so does a replay."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest

from streams.cli.catalogue import given_catalogues
from streams.cli.main import main
from streams.cli.simulate import read_connection, rulebook_of
from streams.domain.policy.policy import CriticalPatches
from streams.domain.policy.publication import PublicationError
from streams.domain.time import DAY_MS, MINUTE_MS
from streams.kafka.provisioning import create_topics
from streams.kafka.security import cluster_of
from streams.operations.feeds import Collected, collect, produce_feed, replay, start_worker
from streams.policies.catalogue.files import shipped_tables, write_tables
from streams.policies.catalogue.topic import publish_catalogue, read_stored
from streams.policies.configured import policy_topic_of
from streams.policies.files import read_policy
from streams.policies.publishing import publish
from streams.policies.reader import read_published
from streams.service.simulation import simulate
from streams.settings.worker import Settings
from streams.wire.catalogue import catalogue_key, catalogue_record
from streams.wire.policy import from_millis, policy_yaml
from streams.wire.records import parse_moment, to_record
from tests.support.catalogues import GOOD, NEW_BUILD, NEW_CVE, of_a_new_line, published, tables, with_rows
from tests.support.live import LENIENT, line, now_ms, of_kind, until_found, with_workers

STRICT = replace(read_policy("microsoft-2026-09"), policy_id="strict", critical_patches=CriticalPatches(0))
SOUND = tables(build=None)


def strict(folder: Path) -> str:
    """A file with a policy that insists on fixes for what is known to be exploited, without grace."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "strict.yaml").write_text(policy_yaml(STRICT))
    return str(folder / "strict.yaml")


def fallen_of(found: Collected) -> list[dict[str, Any]]:
    """The verdicts that only the second catalogue explains."""
    return [row for row in found.verdicts if NEW_CVE in row["cves"]]


@pytest.mark.timeout(240)
def test_a_running_service_takes_a_catalogue_at_its_moment_and_a_late_worker_gives_the_same(
    settings: Settings, tmp_path: Path
) -> None:
    settings = replace(settings, policies=(strict(tmp_path),), tick_seconds=0.2)
    topic, servers = policy_topic_of(settings), range(10)

    async def scenario() -> Collected:
        start = now_ms() - MINUTE_MS
        # The builtin catalogue knows more of these servers than they have fixed; the first published one does not.
        first = now_ms() + MINUTE_MS // 2
        await publish_catalogue(topic, settings.app_id, SOUND, from_millis(first), [], "op", "", accepts_older=True)
        await produce_feed(settings, [line(server, start + server, "15.1.2507.39") for server in servers])
        await until_found(settings, lambda found: len({row["server"] for row in found.verdicts}) == len(servers))
        await produce_feed(settings, [line(server, first + 100 + server, GOOD) for server in servers])
        await until_found(settings, lambda found: len(of_kind(found, "SERVER_RESOLVED")) == len(servers))
        # A malformed record beside it, as only another program can write: refused, and the service goes on.
        async with cluster_of(settings).producer() as producer:
            bad = topic.catalogues.encode(catalogue_record(published(9, first, SOUND), SOUND))
            await producer.send_and_wait(topic.catalogues_topic, bad, key=b"9", partition=0)
            await producer.send_and_wait(topic.catalogues_topic, b"no record", key=b"10", partition=0)
        switch = now_ms() + 2 * MINUTE_MS
        done, said = await publish_catalogue(
            topic, settings.app_id, tables(), from_millis(switch), [], "op", "a test", accepts_older=True
        )
        assert (done.version, said) == (2, "1 build added, 1 cve added, 1 fix added")
        await until_found(settings, lambda found: len(of_kind(found, "POLICY_ANNOUNCED")) == len(servers))
        before = [line(server, switch - 1 - server, GOOD) for server in servers]
        await produce_feed(settings, before + [line(server, switch + server, GOOD) for server in servers if server % 2])
        found = await until_found(settings, lambda found: len(fallen_of(found)) >= len(servers) // 2)
        fallen = fallen_of(found)
        assert {(row["server"], row["effective_at"] - switch) for row in fallen} == {
            (f"mx{server}.example.com", server) for server in servers if server % 2
        }
        assert {row["required_build"] for row in fallen} == {NEW_BUILD}
        assert [row["kind"] for row in found.audit] == ["CATALOGUE_PUBLISHED"] * 2
        after = json.loads(found.audit[-1]["after"])
        assert (found.audit[-1]["issued_by"], after["version"], after["builds"]) == (
            "op",
            2,
            len(tables().rows["builds"]),
        )
        return found

    live = asyncio.run(with_workers(settings, scenario))
    again = replace(settings, app_id=f"{settings.app_id}-late", state_dir=f"{settings.state_dir}-late")
    both = asyncio.run(_from_the_beginning(again))
    by_id = itemgetter("verdict_id")
    assert sorted(both.verdicts, key=by_id) == sorted([*live.verdicts, *live.verdicts], key=by_id)


async def _from_the_beginning(settings: Settings) -> Collected:
    """A worker of another application reads the same topics after everything was published, and writes its own too."""
    await create_topics(settings)
    worker = await start_worker(replace(settings, tick_seconds=0.2), now_ms() + 5 * MINUTE_MS)
    assert await worker.wait() == 0
    return await collect(settings)


@pytest.mark.timeout(180)
def test_a_replay_across_a_switch_of_catalogues_gives_what_a_simulation_gives(
    settings: Settings, tmp_path: Path
) -> None:
    policy = strict(tmp_path)
    start = parse_moment("start", "2026-09-21T14:13:20Z")
    lines = [line(server, start + day * DAY_MS + server, GOOD) for day in range(60) for server in range(8)]
    write_tables(SOUND, tmp_path / "sound")
    write_tables(tables(), tmp_path / "hole")
    given = [str(tmp_path / "sound"), f"{tmp_path / 'hole'}@2026-10-10", f"{tmp_path / 'sound'}@2026-11-01T12:00:00Z"]
    until = start + 90 * DAY_MS
    rulebook = rulebook_of([policy], given)
    wanted = simulate([partial(read_connection, row) for row in lines], rulebook, until, lambda _: None)
    assert {row.stage for row in wanted.verdicts} >= {0, 1}
    found = asyncio.run(replay(replace(settings, policies=(policy,)), lines, until, catalogues=given_catalogues(given)))
    assert sorted(row["verdict_id"] for row in found.verdicts) == sorted(row.verdict_id for row in wanted.verdicts)
    for rows, records, key in (
        (found.verdicts, wanted.verdicts, "verdict_id"),
        (found.notifications, wanted.notifications, "notification_id"),
    ):
        by_id = sorted(rows, key=lambda row: row[key])
        assert by_id == sorted(map(to_record, records), key=lambda row: row[key])


@pytest.mark.timeout(90)
def test_what_must_not_be_published_is_refused_and_leaves_no_trace(settings: Settings) -> None:
    async def scenario() -> None:
        await create_topics(settings)
        topic, policy = policy_topic_of(settings), read_policy("microsoft-2026-09")
        soon = now_ms() + 30 * MINUTE_MS
        newer = tables(fixed_on="2026-11-10")
        without_a_line = with_rows(
            newer,
            **{
                table: tuple(row for row in newer.rows[table] if not row[name].startswith("15.1.2507."))
                for table, name in (("builds", "build"), ("fixes", "fixed_build"), ("aliases", "maps_to"))
            },
        )
        too_large = with_rows(newer, builds=tuple(row | {"source": "x" * 3000} for row in newer.rows["builds"]))
        await publish_catalogue(topic, settings.app_id, newer, from_millis(soon), [policy], "op", "")
        (stored,) = await read_stored(topic, [1])
        assert stored.tables == newer
        for given, at, said in (
            (shipped_tables(), soon - 31 * MINUTE_MS, "effective_at: .*: is in the past"),
            (shipped_tables(), soon, "effective_at: .*: version 1 takes effect at this time"),
            (newer, soon + 1, "version 1: has the same content"),
            (shipped_tables(), soon + 1, "is the newest day, and version 1, in force before, goes up to 2026-11-10"),
            (tables(fixed_on="2027-11-10"), soon + 1, "release_date: '2027-11-10': is after the day"),
            (without_a_line, soon + 1, "no build of its CU line is listed, and microsoft-2026-09 version 1"),
            (too_large, soon + 1, "bytes"),
        ):
            is_forced = "is the newest day" not in said
            with pytest.raises(PublicationError, match=said):
                await publish_catalogue(
                    topic, settings.app_id, given, from_millis(at), [policy], "op", "", accepts_older=is_forced
                )
        # A policy may accept a CU line from the moment on from which a catalogue has it, and not before.
        line = tables(build="15.1.2600.1", fixed_on="2026-11-11")
        await publish_catalogue(topic, settings.app_id, line, from_millis(soon + 1000), [policy], "op", "")
        with pytest.raises(PublicationError, match=r"15\.1\.2600\.1: is of a CU line that is not in the catalogue"):
            await publish(topic, settings.app_id, of_a_new_line(soon + 999), [], "op", "")
        with pytest.raises(PublicationError, match=r"effective_at: .*: catalogue 2 already takes effect at this time"):
            await publish(topic, settings.app_id, of_a_new_line(soon + 1000), [], "op", "")
        await publish(topic, settings.app_id, of_a_new_line(soon + 1001), [], "op", "")
        with pytest.raises(
            PublicationError, match=r"effective_at: .*: new version 1 already takes effect at this time"
        ):
            await publish_catalogue(topic, settings.app_id, newer, from_millis(soon + 1001), [policy], "op", "")
        with pytest.raises(
            PublicationError, match=r"15\.1\.2600\.1: no build of its CU line is listed, and new version"
        ):
            await publish_catalogue(
                topic, settings.app_id, newer, from_millis(soon + 2000), [policy], "op", "", accepts_older=True
            )
        known = await read_published(topic)
        assert ([item.version for item in known.catalogues], len(known.policies)) == ([1, 2], 1)
        assert len((await collect(settings)).audit) == 3

    asyncio.run(scenario())


@pytest.mark.timeout(90)
def test_what_a_publisher_has_not_quite_ended_is_waited_for(settings: Settings) -> None:
    """A broker answers a publisher before it marks its topics; who reads next reads that too."""

    async def scenario() -> None:
        await create_topics(settings)
        topic, given = policy_topic_of(settings), tables()
        value = topic.catalogues.encode(catalogue_record(published(1, now_ms() + MINUTE_MS, given), given))
        async with topic.cluster.producer(transactional_id=f"{settings.app_id}-slow") as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(topic.catalogues_topic, value, key=catalogue_key(1), partition=0)
            known = asyncio.create_task(read_published(topic))
            stored = asyncio.create_task(read_stored(topic, [1]))
            await asyncio.sleep(1)
            await producer.commit_transaction()
            assert [item.version for item in (await known).catalogues] == [1]
            assert [item.tables for item in await stored] == [given]

    asyncio.run(scenario())


@pytest.mark.timeout(90)
def test_the_commands_publish_list_show_and_go_back(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    asyncio.run(create_topics(settings))
    write_tables(tables(fixed_on="2026-11-10"), tmp_path / "new")
    publishing = ["catalogue", "publish", str(tmp_path / "new"), "--effective-at"]
    assert main(["catalogue", "list"]) == 0
    assert main([*publishing, "2001-01-01"]) == 2
    assert "--effective-at: 2001-01-01: is in the past (now 2" in capsys.readouterr().err
    (tmp_path / "new" / "exchange_sources.csv").write_text("source,commit\nsomewhere,1234\nelsewhere,5678\n")
    assert main([*publishing, "2090-01-01", "--by", "ops"]) == 0
    assert "catalogue 1 takes effect at 2090-01-01T00:00:00.000Z: 1 build added" in capsys.readouterr().out
    assert main(["catalogue", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["version"], row["state"], row["published_by"]) for row in rows] == [
        ("builtin", "in force", None),
        ("1", "to come", "ops"),
    ]
    assert main(["catalogue", "show"]) == 0
    assert "catalogue     builtin" in capsys.readouterr().out
    assert main(["catalogue", "show", "1"]) == 0
    assert "provenance    somewhere,1234; elsewhere,5678" in capsys.readouterr().out
    assert main(["catalogue", "diff", "1", str(tmp_path / "new")]) == 0
    assert main(["catalogue", "show", "2"]) == 2
    assert "2: must be builtin, a published version, or a folder" in capsys.readouterr().err
    assert main(["catalogue", "show", "builtin", "--out", str(tmp_path / "old")]) == 0
    back = ["catalogue", "publish", str(tmp_path / "old"), "--effective-at", "2090-02-01"]
    assert main(back) == 2
    assert "use --force to roll back" in capsys.readouterr().err
    assert main([*back, "--force"]) == 0
    assert main(["whatif", "--catalogue", "1"]) == 0
    assert os.environ["TES_APP_ID"] == settings.app_id


@pytest.mark.timeout(120)
def test_a_worker_goes_on_after_a_catalogue_that_it_refuses_and_counts_it(settings: Settings, tmp_path: Path) -> None:
    settings = replace(settings, policies=("microsoft-2023",), tick_seconds=0.2)
    topic = policy_topic_of(settings)

    async def scenario() -> bytes:
        await create_topics(settings)
        with (tmp_path / "log").open("wb") as logs:
            worker = await start_worker(settings, None, logs)
            try:
                await produce_feed(settings, [line(1, now_ms() - MINUTE_MS)])
                await until_found(settings, lambda found: len(found.servers) == 1)
                async with cluster_of(settings).producer() as producer:
                    await producer.send_and_wait(
                        topic.catalogues_topic, b"no record", key=catalogue_key(1), partition=0
                    )
                policy = replace(LENIENT, effective_at=from_millis(now_ms() + MINUTE_MS))
                await publish(topic, settings.app_id, policy, [], "op", "")
                await produce_feed(settings, [line(2, now_ms())])
                await until_found(settings, lambda found: len(found.servers) == 2)
            finally:
                worker.send_signal(signal.SIGTERM)
                assert await worker.wait() == 0
        return (tmp_path / "log").read_bytes()

    said = asyncio.run(scenario())
    assert b"rejected catalogue at offset 0 of " in said
