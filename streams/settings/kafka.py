"""The settings that say where Kafka is and how the service is let in; which go together, and which do not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from streams.settings.base import CheckedSettings, address_faults, fault, setting

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
PASSWORD_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
"""How a user with a password logs in. PLAIN sends the password itself, so TLS has to hide it where others listen."""
OAUTHBEARER = "OAUTHBEARER"
MECHANISMS = (*PASSWORD_MECHANISMS, OAUTHBEARER)


_BOOTSTRAP = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class KafkaSettings(CheckedSettings):
    """Addresses, TLS and SASL of the cluster; files are named here and read by `kafka.security`."""

    bootstrap: str = setting("TES_KAFKA_BOOTSTRAP", "127.0.0.1:9092", "host:port of Kafka, several joined by commas")
    kafka_protocol: str = setting("TES_KAFKA_SECURITY_PROTOCOL", "PLAINTEXT", f"one of {', '.join(PROTOCOLS)}")
    allow_plaintext: bool = setting(
        "TES_ALLOW_PLAINTEXT", True, "whether connections to Kafka may go without TLS; use 0 in production"
    )
    kafka_ca_file: str = setting(
        "TES_KAFKA_CA_FILE", "", "PEM, the CA that signs the brokers' certificates; empty: the system's CAs"
    )
    kafka_certificate_file: str = setting("TES_KAFKA_CERTIFICATE_FILE", "", "PEM, the client's certificate chain")
    kafka_key_file: str = setting("TES_KAFKA_KEY_FILE", "", "PEM, the key of this certificate, not encrypted")
    kafka_mechanism: str = setting("TES_KAFKA_SASL_MECHANISM", "", f"one of {', '.join(MECHANISMS)}")
    kafka_user: str = setting("TES_KAFKA_USER", "", "PLAIN and SCRAM: the user, or API key")
    kafka_password: str = setting(
        "TES_KAFKA_PASSWORD", "", "PLAIN and SCRAM: the user's password, or API secret", is_secret=True
    )
    kafka_password_file: str = setting(
        "TES_KAFKA_PASSWORD_FILE", "", "PLAIN and SCRAM: the file that holds this password"
    )
    kafka_token_file: str = setting(
        "TES_KAFKA_TOKEN_FILE", "", "OAUTHBEARER: the file that holds the token; read again for every connection"
    )
    kafka_token_url: str = setting(
        "TES_KAFKA_TOKEN_URL", "", "OAUTHBEARER: the https endpoint that issues tokens for client credentials"
    )
    kafka_token_ca_file: str = setting(
        "TES_KAFKA_TOKEN_CA_FILE", "", "PEM, the CA that signs the endpoint's certificate; empty: the system's CAs"
    )
    kafka_token_scope: str = setting("TES_KAFKA_TOKEN_SCOPE", "", "requested scopes, separated by spaces; empty: none")
    kafka_client_id: str = setting("TES_KAFKA_CLIENT_ID", "", "the client id at the endpoint")
    kafka_client_secret: str = setting("TES_KAFKA_CLIENT_SECRET", "", "its secret", is_secret=True)
    kafka_client_secret_file: str = setting(
        "TES_KAFKA_CLIENT_SECRET_FILE", "", "the file that holds its secret; read again for every token"
    )

    def secret_files(self) -> tuple[str, ...]:
        """The files that hold secrets; empty where a setting names none."""
        return self.kafka_password_file, self.kafka_client_secret_file, self.kafka_token_file

    def faults(self) -> Iterator[str]:
        """What is wrong with each setting."""
        yield from _bootstrap_faults(self)
        yield from _protocol_faults(self)
        yield from _password_faults(self)
        yield from _oauth_faults(self)

    @property
    def has_tls(self) -> bool:
        """Whether connections are encrypted and the broker's certificate is checked."""
        return self.kafka_protocol in ("SSL", "SASL_SSL")

    @property
    def has_password(self) -> bool:
        """Whether a user with a password logs in."""
        return self.kafka_mechanism in PASSWORD_MECHANISMS

    @property
    def has_oauth(self) -> bool:
        """Whether a bearer token is shown."""
        return self.kafka_mechanism == OAUTHBEARER


def without_security(bootstrap: str) -> dict[str, Any]:
    """What to replace in settings for a cluster that knows neither TLS nor SASL, as the embedded one."""
    return {item.name: item.default for item in fields(KafkaSettings)} | {"bootstrap": bootstrap}


def _bootstrap_faults(settings: KafkaSettings) -> Iterator[str]:
    for host in settings.bootstrap.split(","):
        found = _BOOTSTRAP.fullmatch(host.strip())
        if found is None or not 0 < int(found[1] or 9092) < 65536:
            rule = "must be host:port, several joined by commas, with no user or password"
            yield fault(settings, "bootstrap", rule, is_shown=not set("@/?#") & set(settings.bootstrap))
            return


def _protocol_faults(settings: KafkaSettings) -> Iterator[str]:
    protocol, mechanism = settings.kafka_protocol, settings.kafka_mechanism
    if protocol not in PROTOCOLS:
        yield fault(settings, "kafka_protocol", f"must be one of {', '.join(PROTOCOLS)}")
        return  # what goes with it cannot be told
    if not settings.has_tls and not settings.allow_plaintext:
        rule = "must be SSL or SASL_SSL; to allow connections without TLS, set TES_ALLOW_PLAINTEXT=1"
        yield fault(settings, "kafka_protocol", rule)
    has_sasl = protocol.startswith("SASL")
    if has_sasl and mechanism not in MECHANISMS:
        rule = f"must be one of {', '.join(MECHANISMS)} with TES_KAFKA_SECURITY_PROTOCOL {protocol}"
        yield fault(settings, "kafka_mechanism", rule)
    if not has_sasl:
        yield from must_be_empty(settings, ["kafka_mechanism"], f"TES_KAFKA_SECURITY_PROTOCOL is {protocol}")
    tls = ("kafka_ca_file", "kafka_certificate_file", "kafka_key_file")
    if not settings.has_tls:
        yield from must_be_empty(settings, tls, f"TES_KAFKA_SECURITY_PROTOCOL is {protocol}")
    for name, other in (tls[1:], reversed(tls[1:])):
        if getattr(settings, name) and not getattr(settings, other):
            yield fault(settings, other, "must be set, because a certificate needs its key")


def _password_faults(settings: KafkaSettings) -> Iterator[str]:
    if not settings.has_password:
        names = ("kafka_user", "kafka_password", "kafka_password_file")
        yield from must_be_empty(settings, names, f"TES_KAFKA_SASL_MECHANISM is {settings.kafka_mechanism or 'empty'}")
        return
    if not settings.kafka_user:
        yield fault(settings, "kafka_user", f"must be set with {settings.kafka_mechanism}")
    yield from must_be_one(settings, "kafka_password", "kafka_password_file")


def _oauth_faults(settings: KafkaSettings) -> Iterator[str]:
    secret = ("kafka_client_secret", "kafka_client_secret_file")
    endpoint = ("kafka_client_id", *secret, "kafka_token_scope", "kafka_token_ca_file")
    if not settings.has_oauth:
        names = ("kafka_token_file", "kafka_token_url", *endpoint)
        yield from must_be_empty(settings, names, f"TES_KAFKA_SASL_MECHANISM is {settings.kafka_mechanism or 'empty'}")
        return
    if not settings.has_tls:
        yield fault(
            settings,
            "kafka_protocol",
            "must be SASL_SSL with OAUTHBEARER, because anyone who intercepts the token can use it",
        )
    yield from must_be_one(settings, "kafka_token_file", "kafka_token_url")
    if not settings.kafka_token_url:
        yield from must_be_empty(settings, endpoint, "TES_KAFKA_TOKEN_URL is empty")
        return
    yield from address_faults(settings, "kafka_token_url", ("https",))
    if not settings.kafka_client_id:
        yield fault(settings, "kafka_client_id", "must be set with TES_KAFKA_TOKEN_URL")
    yield from must_be_one(settings, *secret)


def must_be_empty(settings: KafkaSettings, names: Iterable[str], why: str) -> Iterator[str]:
    """None of some settings is set; `why` says what excludes them."""
    for name in names:
        if getattr(settings, name):
            yield fault(settings, name, f"must be empty, because {why}")


def must_be_one(settings: KafkaSettings, name: str, other: str) -> Iterator[str]:
    """Exactly one of two is set."""
    if bool(getattr(settings, name)) == bool(getattr(settings, other)):
        variable = next(item.metadata["variable"] for item in fields(settings) if item.name == other)
        rule = f"set either this or {variable}, not both" if getattr(settings, name) else f"set this or {variable}"
        yield fault(settings, name, rule)
