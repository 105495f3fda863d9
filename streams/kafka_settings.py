"""The settings that say where Kafka is and how the service is let in; which go together, and which do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
OAUTHBEARER = "OAUTHBEARER"
REDACTED = "(redacted)"


class SettingsError(ValueError):
    """A setting that is refused; the message names the variable, the value and the rule, but never a secret."""


def setting(variable: str, default: Any, about: str, *, is_secret: bool = False) -> Any:
    """A field with its environment variable; a secret's value is never shown."""
    return field(
        default=default, repr=not is_secret, metadata={"variable": variable, "about": about, "is_secret": is_secret}
    )


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Addresses, TLS and SASL of the cluster; files are named here and read by `adapters.kafka_security`."""

    bootstrap: str = setting("TES_KAFKA_BOOTSTRAP", "127.0.0.1:9092", "host:port of Kafka, several joined by commas")
    kafka_protocol: str = setting("TES_KAFKA_SECURITY_PROTOCOL", "PLAINTEXT", f"one of {', '.join(PROTOCOLS)}")
    kafka_ca_file: str = setting("TES_KAFKA_CA_FILE", "", "PEM, who signs the brokers; empty: the system's authorities")
    kafka_certificate_file: str = setting("TES_KAFKA_CERTIFICATE_FILE", "", "PEM, the client's certificate chain")
    kafka_key_file: str = setting("TES_KAFKA_KEY_FILE", "", "PEM, the key of this certificate, not encrypted")
    kafka_mechanism: str = setting("TES_KAFKA_SASL_MECHANISM", "", f"one of {', '.join((*SCRAM, OAUTHBEARER))}")
    kafka_user: str = setting("TES_KAFKA_USER", "", "SCRAM: the user")
    kafka_password: str = setting("TES_KAFKA_PASSWORD", "", "SCRAM: his password", is_secret=True)
    kafka_password_file: str = setting("TES_KAFKA_PASSWORD_FILE", "", "SCRAM: the file that holds his password")
    kafka_token_file: str = setting(
        "TES_KAFKA_TOKEN_FILE", "", "OAUTHBEARER: the file that holds the token; read anew for every connection"
    )
    kafka_token_url: str = setting(
        "TES_KAFKA_TOKEN_URL", "", "OAUTHBEARER: the https endpoint that gives tokens for client credentials"
    )
    kafka_token_ca_file: str = setting(
        "TES_KAFKA_TOKEN_CA_FILE", "", "PEM, who signs the endpoint; empty: the system's authorities"
    )
    kafka_token_scope: str = setting("TES_KAFKA_TOKEN_SCOPE", "", "scopes asked for, joined by blanks; empty: none")
    kafka_client_id: str = setting("TES_KAFKA_CLIENT_ID", "", "the client known to the endpoint")
    kafka_client_secret: str = setting("TES_KAFKA_CLIENT_SECRET", "", "its secret", is_secret=True)
    kafka_client_secret_file: str = setting(
        "TES_KAFKA_CLIENT_SECRET_FILE", "", "the file that holds its secret; read anew for every token"
    )

    def __post_init__(self) -> None:
        _check_protocol(self)
        _check_scram(self)
        _check_oauth(self)

    @property
    def has_tls(self) -> bool:
        """Whether connections are encrypted and the broker's certificate is checked."""
        return self.kafka_protocol in ("SSL", "SASL_SSL")

    @property
    def has_scram(self) -> bool:
        """Whether a user with a password logs in."""
        return self.kafka_mechanism in SCRAM

    @property
    def has_oauth(self) -> bool:
        """Whether a bearer token is shown."""
        return self.kafka_mechanism == OAUTHBEARER


def without_security(bootstrap: str) -> dict[str, Any]:
    """What to replace in settings for a cluster that knows neither TLS nor SASL, as the embedded one."""
    return {item.name: item.default for item in fields(KafkaSettings)} | {"bootstrap": bootstrap}


def refuse(settings: KafkaSettings, name: str, rule: str) -> SettingsError:
    """The error for a field: variable, value (where it is no secret) and rule."""
    item = next(item for item in fields(settings) if item.name == name)
    value = getattr(settings, name)
    shown = REDACTED if item.metadata["is_secret"] and value else repr(value)
    return SettingsError(f"{item.metadata['variable']}: {shown}: {rule}")


def check_address(settings: KafkaSettings, name: str, schemes: tuple[str, ...]) -> None:
    """Refuse an address of another scheme, without a host, or with a user and a password in it."""
    try:
        parts = urlsplit(getattr(settings, name))
        is_address = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise refuse(settings, name, f"must be an address that begins with {' or '.join(schemes)}://") from None
    if parts.username is not None or parts.password is not None:
        variable = next(item.metadata["variable"] for item in fields(settings) if item.name == name)
        raise SettingsError(f"{variable}: {REDACTED}: must not hold a user or a password, for it is shown")
    if not is_address:
        raise refuse(settings, name, f"must be an address that begins with {' or '.join(schemes)}://")


def _check_protocol(settings: KafkaSettings) -> None:
    protocol, mechanism = settings.kafka_protocol, settings.kafka_mechanism
    if protocol not in PROTOCOLS:
        raise refuse(settings, "kafka_protocol", f"must be one of {', '.join(PROTOCOLS)}")
    has_sasl = protocol.startswith("SASL")
    if has_sasl and mechanism not in (*SCRAM, OAUTHBEARER):
        rule = f"must be one of {', '.join((*SCRAM, OAUTHBEARER))} with TES_KAFKA_SECURITY_PROTOCOL {protocol}"
        raise refuse(settings, "kafka_mechanism", rule)
    if not has_sasl:
        _must_be_empty(settings, ["kafka_mechanism"], f"TES_KAFKA_SECURITY_PROTOCOL is {protocol}")
    tls = ("kafka_ca_file", "kafka_certificate_file", "kafka_key_file")
    if not settings.has_tls:
        _must_be_empty(settings, tls, f"TES_KAFKA_SECURITY_PROTOCOL is {protocol}")
    for name, other in (tls[1:], reversed(tls[1:])):
        if getattr(settings, name) and not getattr(settings, other):
            raise refuse(settings, other, "must be set, for a certificate and its key go together")


def _check_scram(settings: KafkaSettings) -> None:
    if not settings.has_scram:
        names = ("kafka_user", "kafka_password", "kafka_password_file")
        _must_be_empty(settings, names, f"TES_KAFKA_SASL_MECHANISM is {settings.kafka_mechanism or 'empty'}")
        return
    if not settings.kafka_user:
        raise refuse(settings, "kafka_user", f"must be set with {settings.kafka_mechanism}")
    _must_be_one(settings, "kafka_password", "kafka_password_file")


def _check_oauth(settings: KafkaSettings) -> None:
    secret = ("kafka_client_secret", "kafka_client_secret_file")
    endpoint = ("kafka_client_id", *secret, "kafka_token_scope", "kafka_token_ca_file")
    if not settings.has_oauth:
        names = ("kafka_token_file", "kafka_token_url", *endpoint)
        _must_be_empty(settings, names, f"TES_KAFKA_SASL_MECHANISM is {settings.kafka_mechanism or 'empty'}")
        return
    if not settings.has_tls:
        raise refuse(settings, "kafka_protocol", "must be SASL_SSL with OAUTHBEARER, for who reads a token can use it")
    _must_be_one(settings, "kafka_token_file", "kafka_token_url")
    if not settings.kafka_token_url:
        _must_be_empty(settings, endpoint, "TES_KAFKA_TOKEN_URL is empty")
        return
    check_address(settings, "kafka_token_url", ("https",))
    if not settings.kafka_client_id:
        raise refuse(settings, "kafka_client_id", "must be set with TES_KAFKA_TOKEN_URL")
    _must_be_one(settings, *secret)


def _must_be_empty(settings: KafkaSettings, names: Iterable[str], why: str) -> None:
    for name in names:
        if getattr(settings, name):
            raise refuse(settings, name, f"must be empty, for {why}")


def _must_be_one(settings: KafkaSettings, name: str, other: str) -> None:
    """Exactly one of two is set."""
    if bool(getattr(settings, name)) == bool(getattr(settings, other)):
        variable = next(item.metadata["variable"] for item in fields(settings) if item.name == other)
        both = "one of both must be empty" if getattr(settings, name) else "one of both must be set"
        raise refuse(settings, name, f"{both}, it or {variable}")
