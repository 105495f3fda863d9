"""A Postfix in front of a whole site, the mail that goes in, and what the service was told of it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

from streams.wire.records import parse_moment
from tests.support.mail import HOST, OLD, RECIPIENT, SENDER, Client, mail_of
from tests.support.mail_site import CONNECTOR, MailSite, Tenant, until
from tests.support.old_servers import history
from tests.support.swaks import REFUSED_AT_MAIL, swaks

OUTCOMES = {"2": "ACCEPTED", "4": "DEFERRED", "5": "REJECTED"}
"""Of a message's event, by the first digit of the reply."""


class Chain:
    """From a client's connection to the service and back; remembers what each message was answered."""

    def __init__(self, site: MailSite, port: int, tenants: Mapping[str, Tenant]) -> None:
        """Use a site behind a port of a Postfix."""
        self.site, self.port = site, port
        self._tenants, self._numbers = tenants, count(1)
        self._answered = dict[str, str]()
        self._refused_at_mail = set[str]()
        self.is_answered_at_mail = False
        """Whether the newest answer was given before the headers."""

    def address(self, tenant: str) -> str:
        """Another source address of a tenant, so that its clients are told apart."""
        network = self._tenants[tenant].cidrs[0].partition("/")[0]
        return f"{network.rpartition('.')[0]}.{next(self._numbers) % 250 + 1}"

    def old_server(self, tenant: str, host: str, days: int, stage: int) -> int:
        """Let a server be known as vulnerable for so long, and wait until the edge has it in a stage.

        Returns since when it is known, in UTC milliseconds.
        """
        lines = list(history(tenant, host, days))
        self.site.feed(lines)
        self.site.until_stage(tenant, host, stage)
        return parse_moment("observed_at", json.loads(lines[0])["observed_at"])

    def swaks(self, address: str, host: str, build: str = OLD, *options: str, before: str = "") -> str:
        """Send a message from an address by swaks; returns the reply that decided."""
        message_id, message = self.write(host, build, before=before)
        sent = swaks(self.port, message, "--xclient-addr", address, "--xclient-name", host, *options, helo=host)
        self.note(message_id, sent.reply, is_at_mail=sent.code == REFUSED_AT_MAIL)
        return sent.reply

    @contextmanager
    def client(self, address: str, helo: str = HOST) -> Iterator[Client]:
        """A client that connects from an address."""
        with Client(self.port, helo) as client:
            assert client.give(f"XCLIENT ADDR={address} NAME={helo}")[:3] == "220"
            client.ehlo()
            yield client

    def write(self, host: str, build: str | None = OLD, **more: Any) -> tuple[str, bytes]:
        """A message with an id of its own, and that id."""
        message_id = f"<{uuid.uuid4().hex}@example.com>"
        return message_id, mail_of(build, host, message_id=message_id, **more)

    def submit(self, client: Client, host: str, build: str | None = OLD, **more: Any) -> str:
        """Send a message; returns the reply that decided."""
        message_id, message = self.write(host, build, **more)
        reply = client.give(f"MAIL FROM:<{SENDER}>")
        if reply[0] != "2":
            self.note(message_id, reply, is_at_mail=True)
            return reply
        assert client.give(f"RCPT TO:<{RECIPIENT}>")[0] == "2"
        return self.note(message_id, client.finish(message))

    def note(self, message_id: str, reply: str, *, is_at_mail: bool = False) -> str:
        """Remember what a message was answered; returns the same."""
        self._answered[message_id], self.is_answered_at_mail = reply, is_at_mail
        if is_at_mail:
            self._refused_at_mail.add(message_id)
        return reply

    def told(self, host: str) -> list[dict[str, Any]]:
        """The events that the edge sent of a host's mail, each id once."""
        rows = self.site.records("inbound_connection")
        found = {row["event_id"]: row for row in rows if row["helo"] == host and row["connector_id"] == CONNECTOR}
        return list(found.values())

    def assert_told(self) -> None:
        """Wait until each message since the last call has its one event, with the outcome that its reply says."""
        answered, self._answered = self._answered, {}
        expected = {
            message_id: [OUTCOMES[reply[0]]]
            for message_id, reply in answered.items()
            if message_id not in self._refused_at_mail
        }

        def told() -> dict[str, list[str]]:
            events = {row["event_id"]: row for row in self.site.records("inbound_connection")}
            found: dict[str, list[str]] = {}
            for row in events.values():
                if row["message_id"] in answered:
                    found.setdefault(row["message_id"], []).append(row["outcome"])
            return found

        if expected:
            until(lambda: told().keys() >= expected.keys())
        assert told() == expected


def tenants_of(*names: str, **more: Tenant) -> dict[str, Tenant]:
    """Tenants by name, each with a range of addresses of its own; `more` as given."""
    return {name: Tenant(name, (f"10.0.{number}.0/24",)) for number, name in enumerate(names)} | more
