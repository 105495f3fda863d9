"""States and histories read from a real Kafka are those of the worker; a state of another format stops it at start."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition

from streams.domain.tenant.commands import subject_of
from streams.domain.validation import MalformedError
from streams.engine.faust.app import EXIT_FAILED
from streams.engine.partition.state_format import STATE_FORMAT_KEY
from streams.kafka.provisioning import create_topics
from streams.kafka.reader import extents_of
from streams.kafka.security import cluster_of
from streams.operations.feeds import produce_feed, replay, start_worker
from streams.settings.worker import Settings
from streams.state.row_format import STATE_FORMAT as READS
from streams.wire.records import command_of, command_record, to_json
from tests.support.feeds import UNTIL, make_commands, make_feed


def is_about(line: bytes, tenant_id: str, server: str) -> bool:
    try:
        command = command_of(command_record(line))
    except MalformedError:
        return False
    return command.tenant_id == tenant_id and subject_of(command) in (server, None)


@pytest.mark.timeout(150)
def test_export_and_history_are_what_the_worker_has(settings: Settings, tes: Any) -> None:
    commands = make_commands(21)
    found = asyncio.run(replay(settings, make_feed(21), UNTIL, commands=commands))
    code, out, _ = tes("state", "export")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    partitions = [row for row in rows if row["row"] == "partition"]
    assert [row["partition"] for row in partitions] == [0, 1, 2]
    assert all(row["format"] == READS for row in rows)
    states = {f"{row['tenant_id']}/{row['server']}".encode(): row for row in rows if row["row"] == "server"}
    assert set(states) == set(found.servers)
    assert {row["tenant_id"] for row in rows if row["row"] == "tenant"}
    for row in found.verdicts:
        key = f"{row['tenant_id']}/{row['server']}".encode()
        assert row["revision"] <= states[key]["state"]["revision"]
    connections = {key: row["state"]["connections"] for key, row in states.items()}
    assert sum(connections.values()) > 0

    commanded = [
        row for row in found.verdicts if any(is_about(command, row["tenant_id"], row["server"]) for command in commands)
    ]
    last = max(commanded, key=lambda row: row["revision"])
    tenant_id, server = last["tenant_id"], last["server"]
    code, out, _ = tes("state", "get", tenant_id, server.upper(), "--json")
    assert code == 0
    shown = json.loads(out)
    row = states[f"{tenant_id}/{server}".encode()]
    assert {"partition": row["partition"], **shown["server"]} == row
    for name in ("source_offset", "commands_offset"):
        assert shown["markers"][name] == partitions[row["partition"]][name]
    of_kind = {
        kind: [item["record"] for item in shown["history"] if item["kind"] == kind]
        for kind in ("VERDICT", "NOTIFICATION", "AUDIT")
    }
    mine = [item for item in found.verdicts if (item["tenant_id"], item["server"]) == (tenant_id, server)]
    assert of_kind["VERDICT"] == to_json(mine)
    assert len(of_kind["NOTIFICATION"]) == sum(
        item["tenant_id"] == tenant_id and item["server"] in (server, None) for item in found.notifications
    )
    given = {json.loads(line)["command_id"] for line in commands if is_about(line, tenant_id, server)}
    assert {item["command_id"] for item in of_kind["AUDIT"]} == given
    assert given
    moments = [item["at"] for item in shown["history"]]
    assert moments == sorted(moments)
    code, out, _ = tes("state", "get", tenant_id, server)
    assert (code, f"{last['revision']}: {last['action']} stage {last['stage']}" in out) == (0, True)
    code, _, err = tes("state", "get", tenant_id, "mx99.example.com")
    assert (code, "'mx99.example.com' of tenant-" in err) == (2, True)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("row", [(STATE_FORMAT_KEY, b"99"), (b"s/tenant-1/mx1", b"\x01...")])
def test_a_state_of_another_format_is_refused_at_start_and_by_every_command(
    settings: Settings,
    tes: Any,
    tmp_path: Path,
    row: tuple[bytes, bytes],
) -> None:
    async def scenario() -> tuple[int, int]:
        await create_topics(settings)
        await produce_feed(settings, make_feed(22, 50))
        async with cluster_of(settings).producer() as producer:
            for partition in range(settings.partitions):
                await producer.send_and_wait(settings.changelog, row[1], key=row[0], partition=partition)
        with (tmp_path / "log").open("wb") as logs:
            worker = await start_worker(settings, None, logs)
            code = await worker.wait()
        changelogs = [TopicPartition(settings.changelog, number) for number in range(settings.partitions)]
        return code, sum(end for _, end in (await extents_of(cluster_of(settings), changelogs)).values())

    assert asyncio.run(scenario()) == (EXIT_FAILED, settings.partitions)
    said = f"state format {'99' if row[0] == STATE_FORMAT_KEY else '1'}: this version reads format {READS} only"
    assert said in (tmp_path / "log").read_text()
    assert (code_and_error := tes("state", "export"))[0] == 1
    assert said in code_and_error[2]
    if row[0] == STATE_FORMAT_KEY:
        code, _, err = tes("state", "get", "tenant-1", "mx1")
        assert (code, said in err) == (1, True)
