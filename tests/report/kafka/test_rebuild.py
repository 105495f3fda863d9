"""`tes report rebuild` and `check` on a real Kafka, beside a process that goes on."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import text

from streams.kafka.provisioning import create_topics, delete_topics
from streams.kafka.security import cluster_of
from streams.kafka.topic_ids import identify
from streams.kafka.topics import TopicError
from streams.report.store.opening import open_database
from streams.report.store.tables import SERVER, SERVER_DAY, TENANT_VERSION
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings
from tests.support.edge_sync import produce, topic_of
from tests.support.process import Process, command_of, environment_of
from tests.support.report import START, encoded, report_record, rows_of
from tests.support.report_site import expected_model, port_of, report_process, until_model, variables_of
from tests.support.waiting import until_true
from tests.support.worker_results import SIGKILLED


def run(variables: dict[str, str], *words: str) -> tuple[int, str]:
    """Exit code and output of `tes report WORDS`."""
    done = subprocess.run(
        command_of("report", *words), env=environment_of(variables), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_a_rebuild_beside_the_running_process_switches_at_once(
    filled: Settings, report_settings: ReportSettings, tmp_path: Path
) -> None:
    expected = expected_model(filled)
    variables = variables_of(filled, report_settings)
    process = report_process(tmp_path, variables)
    process.until_ready(port_of(variables))
    until_model(report_settings, expected)
    assert run(variables, "check")[0] == 0
    database = open_database(report_settings)
    with database.writing() as connection:
        connection.execute(
            text("UPDATE server SET detail = '{}' WHERE tenant_id = (SELECT min(tenant_id) FROM server)")
        )
        connection.execute(text("DELETE FROM notification"))
    code, said = run(variables, "check")
    assert (code, "server " in said, "notification " in said) == (1, True, True), said
    for point in ("carried", "committed", "filled"):
        assert run(variables | {"TES_REPORT_CRASH_AT": point}, "rebuild")[0] == SIGKILLED
        assert rows_of(database, SERVER)
    code, said = run(variables, "rebuild")
    assert code == 0, said
    assert run(variables, "check")[0] == 0
    # History is as it was, though the topics were read once more; what is shown of a tenant has a new version.
    assert dict(rows_of(database, TENANT_VERSION)) == {tenant: 2 * n + 1 for tenant, n in expected["tenant_version"]}
    del expected["tenant_version"]
    until_model(report_settings, expected)
    rows = {b"contoso/new.contoso.com": encoded("server_report", report_record("new.contoso.com"))}
    asyncio.run(produce(filled, "server_report", dict(rows)))
    expected = expected_model(filled)
    del expected["tenant_version"]
    until_model(report_settings, expected)
    assert process.end() == 0
    database.close()


async def make_again(settings: Settings, name: str) -> None:
    """Delete a topic and make it anew; brokers learn of it a little later."""
    topic = topic_of(settings, name)
    async with cluster_of(settings).opened_admin() as admin:
        before = await identify(admin._client, topic)
        await delete_topics(settings, [topic])

        async def is_another() -> bool:
            await create_topics(settings)
            try:
                return await identify(admin._client, topic) != before
            except TopicError:
                return False

        await until_true(is_another)


@pytest.mark.timeout(180)
def test_a_topic_that_was_made_again_stops_the_reader_until_a_rebuild(
    settings: Settings, report_settings: ReportSettings, tmp_path: Path
) -> None:
    asyncio.run(create_topics(settings))
    old, new = (encoded("server_report", report_record(f"{name}.contoso.com")) for name in ("old", "new"))
    asyncio.run(produce(settings, "server_report", {b"contoso/old.contoso.com": old}))
    variables = variables_of(settings, report_settings)
    process = report_process(tmp_path, variables)
    process.until_ready(port_of(variables))
    until_model(report_settings, expected_model(settings))
    asyncio.run(make_again(settings, "server_report"))
    asyncio.run(produce(settings, "server_report", {b"contoso/new.contoso.com": new}))
    said = process.until_said(port_of(variables), "tes report rebuild")
    assert said["state"] == "stopped"
    assert process.until_ready(port_of(variables), "/servingz")["serving"] is True
    code, output = run(variables, "rebuild")
    assert code == 0, output
    assert "1 of which the topics do not know any more" in output
    process.until_ready(port_of(variables))
    database = open_database(report_settings)
    assert [row[1] for row in rows_of(database, SERVER)] == ["new.contoso.com"]
    days = rows_of(database, SERVER_DAY)
    assert days[0][1:5] == (START // 86_400_000, "REPORTED", 0, 2)
    assert days[-1][4] == -1
    database.close()
    assert process.end() == 0


@pytest.mark.timeout(120)
def test_another_process_stands_by_and_takes_over(
    settings: Settings, report_settings: ReportSettings, tmp_path: Path
) -> None:
    asyncio.run(create_topics(settings))
    asyncio.run(
        produce(settings, "server_report", {b"contoso/mx1.contoso.com": encoded("server_report", report_record())})
    )
    processes: list[tuple[Process, dict[str, str]]] = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        variables = variables_of(settings, report_settings)
        process = report_process(tmp_path / name, variables)
        state = process.until_ready(port_of(variables))["state"]
        assert state == ("standby" if processes else "following")
        processes.append((process, variables))
    (first, _), (second, variables) = processes

    async def knows_the_age() -> bool:
        return second.until_ready(port_of(variables), "/servingz")["current_at"] is not None

    # One that only stands by serves as well, and knows how old the tables are that another one keeps.
    asyncio.run(until_true(knows_the_age))
    assert first.end() == 0
    rows = {b"contoso/mx2.contoso.com": encoded("server_report", report_record("mx2.contoso.com"))}
    asyncio.run(produce(settings, "server_report", dict(rows)))
    until_model(report_settings, expected_model(settings))
    assert second.until_ready(port_of(variables))["state"] == "following"
    assert second.end() == 0
