"""A message that waits in the queue of its server while it is throttled."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from streams.domain.time import MINUTE_MS
from tests.support.mail import Client
from tests.support.mail_chain import Chain
from tests.support.mail_site import until
from tests.support.old_servers import host_in_minutes, now_ms
from tests.support.postfix import Postfix, running_postfix

DAYS, STAGE = 31, 2
"""For so long a server is known that is throttled five minutes of each hour."""


class Queued(NamedTuple):
    """The message, its server, and since when that is known as vulnerable, in UTC milliseconds."""

    sender: Postfix
    host: str
    message_id: str
    since: int


@contextmanager
def queued_message(chain: Chain, tenant: str) -> Iterator[Queued]:
    """Send mail by a Postfix that hands it over to the chain, until a message of it is deferred."""
    with tempfile.TemporaryDirectory(prefix="tes-sender-") as folder:
        hides = Path(folder) / "hides"
        # Exchange writes its own line at the top, and this sender stands for one.
        hides.write_text("/^Received:.*\\(Postfix/ IGNORE\n", encoding="utf-8")
        settings = {
            "relayhost": f"[127.0.0.1]:{chain.port}",
            "default_transport": "smtp",
            "virtual_mailbox_domains": "",
            "header_checks": f"regexp:{hides}",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "2s",
            "queue_run_delay": "1s",
        }
        with running_postfix(settings) as sender:
            port = sender.listen()
            while True:
                # Near the end of its minutes, and with time enough to send: the free ones are not far.
                place = 4 if now_ms() % MINUTE_MS < MINUTE_MS // 3 else 3
                host = host_in_minutes(tenant, place, place)
                since = chain.old_server(tenant, host, DAYS, STAGE)
                message_id, message = chain.write(host)
                with Client(port) as client:
                    assert client.send_mail(message)[0] == "2"
                if "status=deferred" in until(partial(deliveries, sender, message_id))[0]:
                    break
            yield Queued(sender, host, message_id, since)


def deliveries(sender: Postfix, message_id: str) -> list[str]:
    """What a Postfix logged of each try to deliver a message."""
    log = sender.log
    name = re.search(rf"(\w+): message-id={re.escape(message_id)}", log)
    return [] if name is None else re.findall(rf".*: {name[1]}: to=.*", log)
