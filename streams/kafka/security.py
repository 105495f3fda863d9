"""What the settings say about Kafka, as a cluster that makes its clients: reads certificates and secrets."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from streams.kafka.authorities import trusting
from streams.kafka.cluster import Cluster
from streams.kafka.secret_files import SecretFileError, read_secret
from streams.kafka.tokens import TokenEndpoint, TokenError, TokenFile
from streams.settings.base import SettingsError, refuse
from streams.settings.kafka import KafkaSettings
from streams.settings.registry import RegistrySettings


def cluster_of(settings: KafkaSettings) -> Cluster:
    """The cluster that the settings name, with the secrets that its files hold now.

    Raises:
        SettingsError: a file cannot be read, or does not hold what its setting says.
    """
    security: dict[str, Any] = {}
    if settings.kafka_protocol != "PLAINTEXT":
        security["security_protocol"] = settings.kafka_protocol
    if settings.has_tls:
        security["ssl_context"] = context = trusting(settings, "kafka_ca_file")
        if settings.kafka_certificate_file:
            _show_certificate(settings, context)
    if settings.kafka_mechanism:
        security["sasl_mechanism"] = settings.kafka_mechanism
    if settings.has_password:
        security["sasl_plain_username"] = settings.kafka_user
        security["sasl_plain_password"] = settings.kafka_password or _secret(settings, "kafka_password_file")
    if settings.has_oauth:
        security["sasl_oauth_token_provider"] = _token_provider(settings)
    return Cluster(settings.bootstrap, security)


def file_faults(settings: RegistrySettings) -> Iterator[str]:
    """What is wrong with each file that the settings name, also where they are refused for other reasons."""
    checks: dict[str, Callable[[], object]] = {
        "kafka_ca_file": lambda: trusting(settings, "kafka_ca_file"),
        "kafka_certificate_file": lambda: _show_certificate(settings, ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)),
        "kafka_password_file": lambda: _secret(settings, "kafka_password_file"),
        "kafka_token_file": lambda: _check_token(settings),
        "kafka_token_ca_file": lambda: trusting(settings, "kafka_token_ca_file"),
        "kafka_client_secret_file": lambda: _secret(settings, "kafka_client_secret_file"),
        "registry_ca_file": lambda: trusting(settings, "registry_ca_file"),
        "registry_password_file": lambda: _secret(settings, "registry_password_file"),
        "registry_token_file": lambda: _secret(settings, "registry_token_file"),
    }
    for name, check in checks.items():
        if getattr(settings, name):
            try:
                check()
            except SettingsError as error:
                yield from error.errors


def _check_token(settings: KafkaSettings) -> TokenFile:
    provider = TokenFile(Path(settings.kafka_token_file))
    try:
        provider.read()
    except TokenError as error:
        raise refuse(settings, "kafka_token_file", error.rule) from None
    return provider


def _token_provider(settings: KafkaSettings) -> TokenFile | TokenEndpoint:
    if settings.kafka_token_file:
        return _check_token(settings)
    secret = settings.kafka_client_secret
    if settings.kafka_client_secret_file:
        _secret(settings, "kafka_client_secret_file")
    return TokenEndpoint(
        settings.kafka_token_url,
        settings.kafka_client_id,
        lambda: secret or read_secret(Path(settings.kafka_client_secret_file)),
        settings.kafka_token_scope,
        trusting(settings, "kafka_token_ca_file"),
    )


def _secret(settings: KafkaSettings, name: str) -> str:
    try:
        return read_secret(Path(getattr(settings, name)))
    except SecretFileError as error:
        raise refuse(settings, name, error.rule) from None


def _show_certificate(settings: KafkaSettings, context: ssl.SSLContext) -> None:
    def ask_nobody() -> str:
        # Without this OpenSSL asks on the terminal.
        raise refuse(settings, "kafka_key_file", "must be a key that is not encrypted")

    for name in ("kafka_certificate_file", "kafka_key_file"):
        try:
            Path(getattr(settings, name)).read_bytes()
        except OSError as error:
            raise refuse(settings, name, f"must be readable: {error.strerror}") from None
    try:
        context.load_cert_chain(settings.kafka_certificate_file, settings.kafka_key_file, password=ask_nobody)
    except SettingsError:
        raise
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "no PEM"
        rule = f"must be a PEM certificate to which the key in {settings.kafka_key_file!r} belongs ({reason})"
        raise refuse(settings, "kafka_certificate_file", rule) from None
