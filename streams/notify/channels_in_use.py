"""The ways to destinations that are set up, by kind; what is for another kind waits."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from streams.clock import wall_clock_ms
from streams.kafka.authorities import trusting
from streams.kafka.secret_files import SecretFileError, read_secret
from streams.notices.model import Channel, DestinationKind
from streams.notices.reach import GuardRules
from streams.notices.tokens import make_bounce_token
from streams.notices.webhook_secrets import SigningKeyError
from streams.notify.channels.apprise import AppriseChannel, is_installed
from streams.notify.channels.chat import ChatChannel
from streams.notify.channels.guard import GuardedClient
from streams.notify.channels.links import ReportLinks
from streams.notify.channels.mail import MailChannel
from streams.notify.channels.mail_message import Sender, parse_address
from streams.notify.channels.relay import Relay, TlsMode
from streams.notify.channels.signing import KeyPair
from streams.notify.channels.webhook import WebhookChannel
from streams.settings.base import refuse
from streams.settings.notify import NotifySettings

CHATS: Final = (DestinationKind.SLACK, DestinationKind.TEAMS, DestinationKind.DISCORD)
SOURCE: Final = "urn:tes:notify"
"""The `source` of events where no public address is known."""


class ChannelsInUse:
    """The channels that the settings set up; `kinds` are those of destinations that they reach.

    Mail needs a relay, Apprise its library. All but webhooks need a public address: a question that has no link cannot
    be answered.
    """

    def __init__(self, settings: NotifySettings) -> None:
        """Read the files that the settings name; nothing is connected to yet.

        Raises:
            SettingsError: a file cannot be read, or does not hold what its setting says.
        """
        self._settings = settings
        self._mail: MailChannel | None = None
        self._keys = _keys(settings)
        self._relay = _relay(settings) if settings.smtp_host else None
        kinds = {DestinationKind.WEBHOOK}
        if settings.public_url:
            kinds.update(CHATS)
            if is_installed():
                kinds.add(DestinationKind.APPRISE)
        if self._relay is not None:
            kinds.add(DestinationKind.MAIL)
        self.kinds: frozenset[DestinationKind] = frozenset(kinds)

    @property
    def template_failures(self) -> int:
        """How many mails were sent without their layout."""
        return 0 if self._mail is None else self._mail.writer.template_failures

    @asynccontextmanager
    async def opened(self, link_key: bytes) -> AsyncIterator[Mapping[DestinationKind, Channel]]:
        """The channels by kind, until the end of the context; `link_key` is that of the ledger."""
        settings, links = self._settings, ReportLinks(self._settings.public_url)
        rules = GuardRules(tuple(ip_network(text) for text in settings.allowed_networks))
        channels: dict[DestinationKind, Channel] = {}
        async with GuardedClient(rules) as client:
            source = settings.public_url or SOURCE
            channels[DestinationKind.WEBHOOK] = WebhookChannel(
                client, source=source, links=links, clock=wall_clock_ms, keys=self._keys
            )
            chat = ChatChannel(client, links=links, clock=wall_clock_ms)
            channels |= {kind: chat for kind in CHATS if kind in self.kinds}
            apprise = None
            if DestinationKind.APPRISE in self.kinds:
                apprise = channels[DestinationKind.APPRISE] = AppriseChannel(links)
            if self._relay is not None:
                channels[DestinationKind.MAIL] = self._opened_mail(self._relay, links, link_key)
            try:
                yield channels
            finally:
                if self._mail is not None:
                    await self._mail.close()
                if apprise is not None:
                    apprise.close()

    def _opened_mail(self, relay: Relay, links: ReportLinks, link_key: bytes) -> MailChannel:
        bounce_token = partial(make_bounce_token, link_key)
        self._mail = MailChannel(relay, _sender(self._settings), links=links, bounce_token=bounce_token)
        return self._mail


def _keys(settings: NotifySettings) -> KeyPair | None:
    if not settings.signing_key_file:
        return None
    try:
        return KeyPair(_secret(settings, "signing_key_file"))
    except SigningKeyError as error:
        raise refuse(settings, "signing_key_file", f"must hold an Ed25519 key: {error}") from None


def _relay(settings: NotifySettings) -> Relay:
    password: Callable[[], str] = str
    if settings.smtp_password_file:
        _secret(settings, "smtp_password_file")
        password = partial(read_secret, Path(settings.smtp_password_file))
    tls = TlsMode(settings.smtp_tls)
    trust: ssl.SSLContext | None = None if tls is TlsMode.NONE else trusting(settings, "smtp_ca_file")
    return Relay(
        settings.smtp_host,
        settings.smtp_port,
        tls,
        settings.hello or socket.getfqdn(),
        settings.smtp_user,
        password,
        settings.smtp_connections,
        trust=trust,
    )


def _sender(settings: NotifySettings) -> Sender:
    reply_to = parse_address(settings.mail_reply_to) if settings.mail_reply_to else None
    return Sender(settings.mail_name, parse_address(settings.mail_from), reply_to, settings.bounce_domain)


def _secret(settings: NotifySettings, name: str) -> str:
    try:
        return read_secret(Path(getattr(settings, name)))
    except SecretFileError as error:
        raise refuse(settings, name, error.rule) from None
