"""The lines that `deploy/mta/postfix` has for main.cf and master.cf, in a real Postfix."""

from __future__ import annotations

import asyncio
import grp
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.clock import wall_clock_ms
from streams.edge.client import Connector
from streams.settings.addresses import parse_address
from tests.deploy.manifests import REPOSITORY
from tests.deploy.systemd import FOLDER, environment_file
from tests.support.door import standing_verdict
from tests.support.edge_files import fill_table, waiting_ids
from tests.support.edge_process import edge_site
from tests.support.mail import GOOD, HOST, Client, mail_of
from tests.support.milter_service import BLOCKED, blocking_doorway, served_milter
from tests.support.postfix import Postfix, running_postfix
from tests.support.waiting import until_true

SNIPPETS = REPOSITORY / "deploy" / "mta" / "postfix"
QUEUE = Path("/var/spool/postfix")
"""The queue directory of the packages."""


def lines_of(name: str) -> list[str]:
    """The logical lines of a snippet."""
    text = re.sub(r"\n[ \t]+", " ", (SNIPPETS / name).read_text())
    return [line for line in text.splitlines() if not line.startswith("#")]


def settings_of(name: str) -> dict[str, str]:
    return {setting: value for setting, _, value in (line.partition(" = ") for line in lines_of(name))}


@pytest.fixture(scope="module")
def postfix() -> Iterator[Postfix]:
    with running_postfix(settings_of("main.cf")) as running:
        yield running


@pytest.fixture
def socket(postfix: Postfix) -> Path:
    """Where the door's socket is, in a folder with the owner and the rights that the how-to gives it."""
    address = parse_address(environment_file("edge.env")["TES_EDGE_MILTER"])
    assert address.path is not None
    path = postfix.folder / "spool" / Path(address.path).relative_to(QUEUE)
    if not path.parent.exists():
        path.parent.mkdir()
        os.chown(path.parent, -1, grp.getgrnam("postfix").gr_gid)
        path.parent.chmod(0o2750)
    return path


@pytest.mark.parametrize("chroot", ["y", "n"])
def test_postfix_reaches_the_door_in_its_queue_directory(postfix: Postfix, socket: Path, chroot: str) -> None:
    port = postfix.listen(chroot=chroot)
    # Group postfix, by the folder, and nobody else may connect.
    with served_milter(socket, blocking_doorway(), 0o660), Client(port) as client:
        assert client.send_mail() == BLOCKED
        assert client.send_mail(mail_of(GOOD))[:4] == "250 "
    with Client(port) as client:
        assert client.send_mail()[:4] == "250 ", "without a door mail is accepted"


def test_a_door_of_its_own_reports_first_and_then_enforces(postfix: Postfix, socket: Path, tmp_path: Path) -> None:
    verdict = standing_verdict(HOST, smtp_template_block="550 5.7.230 blocked for {minutes} mins/hr.")
    fill_table(tmp_path, verdict, confirmed_at=wall_clock_ms())
    connectors = tmp_path / "connectors.yaml"
    connectors.write_text((FOLDER / "connectors.yaml").read_text().replace("192.0.2.0/24", "127.0.0.0/8"))
    settings = environment_file("edge.env") | {
        "TES_EDGE_DIR": str(tmp_path),
        "TES_EDGE_CONNECTORS": str(connectors),
        "TES_EDGE_MILTER": f"unix:{socket}",
    }
    port = postfix.listen(chroot="y")

    async def said_by_door(**changed: str) -> str:
        async with edge_site(tmp_path, "door", **settings | changed) as site:
            await site.until("/readyz", lambda status, _: status == 200)
            with Client(port) as client:
                return client.send_mail(mail_of(subject="journey"))

    async def is_delivered() -> bool:
        return any(b"X-TES: action=BLOCK; cause=BLOCKED; build=" in message for message in postfix.inbox)

    async def journey() -> None:
        assert (await said_by_door())[:4] == "250 "
        await until_true(is_delivered)
        assert await said_by_door(TES_EDGE_MODE="enforce") == "550 5.7.230 blocked for 60 mins/hr."

    asyncio.run(journey())
    assert len(waiting_ids(tmp_path)) == 2
    with Client(port) as client:
        assert client.send_mail()[:4] == "250 ", "a door that is stopped keeps nobody out"


def test_a_listener_that_names_a_connector_is_believed(postfix: Postfix, socket: Path) -> None:
    (line,) = lines_of("master.cf")
    options = dict(re.findall(r"-o \{ (\w+) = ((?:[^{}]|\{\w+\})*) \}", line))
    doorway = blocking_doorway()
    doorway.connectors.connector = None
    port = postfix.listen(chroot="y", **options)
    with served_milter(socket, doorway, 0o660), Client(port) as client:
        client.send_mail()
    (event,) = doorway.told
    said = Connector(event.tenant_id, event.connector_id, event.connector_type)
    assert said == Connector("contoso", "exchange")


def test_every_name_is_one_of_postfix(postfix: Postfix) -> None:
    for name in ("main.cf", "main-tls.cf"):
        for setting in settings_of(name):
            assert postfix.default_of(setting) is not None, setting
