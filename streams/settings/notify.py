"""The settings of the process that tells people, typed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from ipaddress import ip_address, ip_network

from streams.domain.mailboxes import is_host_name, is_mail_address
from streams.settings.addresses import ListenAddress, parse_address
from streams.settings.base import (
    EDGE_PREFIX,
    REPORT_PREFIX,
    fault,
    is_loopback,
    public_url_faults,
    read,
    setting,
    variables_of,
)
from streams.settings.database import DatabaseSettings
from streams.settings.worker import Settings

LEAST_DAYS, MOST_DAYS = 8, 4000
MOST_GROUP = 100
MOST_IN_FLIGHT = 10_000
MOST_CONNECTIONS = 100
MOST_NAME_CHARS = 100
TLS_NONE, TLS_MODES = "none", ("none", "starttls", "tls")


@dataclass(frozen=True, slots=True)
class NotifySettings(DatabaseSettings):
    """The settings of `tes notify`; each can be given by the environment variable named with it."""

    port: int = setting("TES_NOTIFY_PORT", 6071, "port of the web server for probes and metrics; 0: no web server")
    web_host: str = setting("TES_NOTIFY_WEB_HOST", "127.0.0.1", "address of this web server")
    group_above: int = setting(
        "TES_NOTIFY_GROUP_ABOVE", 5, "more notices than these that wait for a destination go to it as one digest"
    )
    in_flight: int = setting("TES_NOTIFY_IN_FLIGHT", 1000, "how many destinations are sent to at once")
    history_days: int = setting("TES_NOTIFY_HISTORY_DAYS", 90, "how long it is kept what became of notices, in days")
    public_url: str = setting(
        "TES_REPORT_PUBLIC_URL", "", "https://HOST of the report, where links lead; empty: no mail and no chat"
    )
    smtp_host: str = setting("TES_NOTIFY_SMTP_HOST", "", "the relay that takes mail; empty: no mail is sent")
    smtp_port: int = setting("TES_NOTIFY_SMTP_PORT", 587, "its port")
    smtp_tls: str = setting(
        "TES_NOTIFY_SMTP_TLS", "starttls", "how it is spoken to: none, starttls, or tls from the first byte"
    )
    smtp_user: str = setting("TES_NOTIFY_SMTP_USER", "", "signs in there with this name; empty: no sign-in")
    smtp_password_file: str = setting(
        "TES_NOTIFY_SMTP_PASSWORD_FILE", "", "the file that holds its password; read again for every sign-in"
    )
    smtp_ca_file: str = setting(
        "TES_NOTIFY_SMTP_CA_FILE", "", "PEM, the CA that signs the relay's certificate; empty: the system's CAs"
    )
    smtp_connections: int = setting("TES_NOTIFY_SMTP_CONNECTIONS", 4, "connections to the relay at once")
    mail_from: str = setting("TES_NOTIFY_MAIL_FROM", "", "the address that mails are from")
    mail_name: str = setting("TES_NOTIFY_MAIL_NAME", "", "the name beside it")
    mail_reply_to: str = setting(
        "TES_NOTIFY_MAIL_REPLY_TO", "", "where answers go; empty: to the address they are from"
    )
    bounce_domain: str = setting(
        "TES_NOTIFY_BOUNCE_DOMAIN", "", "bounces go to bounce+TOKEN at this domain; empty: to the address they are from"
    )
    lmtp: str = setting(
        "TES_NOTIFY_LMTP",
        "",
        "where the relay hands in bounces by LMTP, HOST:PORT of this machine or unix:/PATH; empty: none are read",
    )
    hello: str = setting("TES_NOTIFY_HELLO", "", "what this host calls itself to the relay; empty: its own name")
    allowed_networks: tuple[str, ...] = setting(
        "TES_NOTIFY_ALLOWED_NETWORKS",
        (),
        "networks that are not public and may be called all the same, such as 10.1.0.0/16, joined by commas",
    )
    signing_key_file: str = setting(
        "TES_NOTIFY_SIGNING_KEY_FILE", "", "the file that holds the Ed25519 key (whsk_…) that signs webhooks as well"
    )
    log_format: str = setting("TES_LOG_FORMAT", "text", "lines of the log: text, or json for machines")
    crash_at: str = setting(
        "TES_NOTIFY_CRASH_AT", "", "tests: kill the process at this failpoint; `sent:3` means the third time"
    )

    def faults(self) -> Iterator[str]:
        """What is wrong with each setting."""
        yield from DatabaseSettings.faults(self)
        if self.log_format not in ("text", "json"):
            yield fault(self, "log_format", "must be text or json")
        if not 0 <= self.port <= 65535:
            yield fault(self, "port", "must be a port, 0 to 65535")
        for name, least, most in (
            ("group_above", 1, MOST_GROUP),
            ("in_flight", 1, MOST_IN_FLIGHT),
            ("history_days", LEAST_DAYS, MOST_DAYS),
        ):
            if not least <= getattr(self, name) <= most:
                yield fault(self, name, f"must be from {least} to {most}")
        yield from public_url_faults(self, "public_url")
        yield from _relay_faults(self)
        yield from _mail_faults(self)
        for text in self.allowed_networks:
            if not _is_network(text):
                yield fault(self, "allowed_networks", f"{text!r:.80} must be a network such as 10.1.0.0/16")

    @property
    def lmtp_address(self) -> ListenAddress | None:
        """Where bounces are handed in; None for nowhere.

        Raises:
            ValueError: it is no address; the message is the rule.
        """
        return parse_address(self.lmtp) if self.lmtp else None

    def secret_files(self) -> tuple[str, ...]:
        """See `DatabaseSettings`."""
        return *DatabaseSettings.secret_files(self), self.smtp_password_file, self.signing_key_file


def read_notify_settings(environment: Mapping[str, str] = os.environ) -> NotifySettings:
    """The settings of the environment; those of other parts may be set as well.

    Raises:
        SettingsError: TES_ variables are unknown, or their values are not of their kind; names all of them.
    """
    return read(NotifySettings, environment, _is_of_another_part)


def _relay_faults(settings: NotifySettings) -> Iterator[str]:
    if not settings.smtp_host:
        for item in fields(settings):
            is_of_mail = item.name.startswith(("smtp_", "mail_", "bounce_", "hello", "lmtp"))
            if is_of_mail and getattr(settings, item.name) != item.default:
                yield fault(settings, item.name, "needs TES_NOTIFY_SMTP_HOST")
        return
    if not (is_loopback(settings.smtp_host) or is_host_name(settings.smtp_host) or _is_address(settings.smtp_host)):
        yield fault(settings, "smtp_host", "must be the name or the address of a host")
    if not 1 <= settings.smtp_port <= 65535:
        yield fault(settings, "smtp_port", "must be a port, 1 to 65535")
    if settings.smtp_tls not in TLS_MODES:
        yield fault(settings, "smtp_tls", f"must be one of {', '.join(TLS_MODES)}")
    elif settings.smtp_tls == TLS_NONE:
        if settings.smtp_user and not is_loopback(settings.smtp_host):
            yield fault(settings, "smtp_user", "needs TES_NOTIFY_SMTP_TLS starttls or tls, except on loopback")
        if settings.smtp_ca_file:
            yield fault(settings, "smtp_ca_file", "needs TES_NOTIFY_SMTP_TLS starttls or tls")
    if settings.smtp_user and not settings.smtp_password_file:
        yield fault(settings, "smtp_user", "needs TES_NOTIFY_SMTP_PASSWORD_FILE")
    if settings.smtp_password_file and not settings.smtp_user:
        yield fault(settings, "smtp_password_file", "needs TES_NOTIFY_SMTP_USER")
    if not 1 <= settings.smtp_connections <= MOST_CONNECTIONS:
        yield fault(settings, "smtp_connections", f"must be from 1 to {MOST_CONNECTIONS}")
    if not settings.mail_from:
        yield fault(settings, "smtp_host", "needs TES_NOTIFY_MAIL_FROM")
    if not settings.public_url:
        yield fault(settings, "smtp_host", "needs TES_REPORT_PUBLIC_URL, where links in mails lead")


def _mail_faults(settings: NotifySettings) -> Iterator[str]:
    for name in ("mail_from", "mail_reply_to"):
        if (text := getattr(settings, name)) and not is_mail_address(text):
            yield fault(settings, name, "must be an address such as tes@contoso.com")
    if not settings.mail_name.isprintable() or len(settings.mail_name) > MOST_NAME_CHARS:
        yield fault(settings, "mail_name", f"must be at most {MOST_NAME_CHARS} printable characters")
    if settings.lmtp:
        try:
            address = settings.lmtp_address
        except ValueError as error:
            yield fault(settings, "lmtp", str(error))
        else:
            if address is not None and not address.is_local:
                yield fault(settings, "lmtp", "must be an address of this machine only")
        if not settings.bounce_domain:
            yield fault(settings, "lmtp", "needs TES_NOTIFY_BOUNCE_DOMAIN")
    for name in ("bounce_domain", "hello"):
        if (text := getattr(settings, name)) and not is_host_name(text):
            yield fault(settings, name, "must be the name of a host in ASCII, such as tes.contoso.com")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _is_of_another_part(variable: str) -> bool:
    return variable.startswith((EDGE_PREFIX, REPORT_PREFIX)) or variable in variables_of(Settings)
