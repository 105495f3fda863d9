"""The settings that say what topics are called, where their schemas are registered, and how the service is let in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from streams.settings.base import address_faults, fault, is_loopback, setting
from streams.settings.kafka import KafkaSettings, must_be_empty, must_be_one

_CREDENTIALS = ("registry_user", "registry_password", "registry_password_file", "registry_token_file")


@dataclass(frozen=True, slots=True)
class RegistrySettings(KafkaSettings):
    """The prefix of topics, and address and credentials of the schema registry; files are read when it is asked."""

    topic_prefix: str = setting("TES_TOPIC_PREFIX", "", "prefix of every topic name, and so of the registry's subjects")
    schema_registry_url: str = setting(
        "TES_SCHEMA_REGISTRY_URL", "", "Confluent-compatible registry; empty: the registry file that ships"
    )
    registry_ca_file: str = setting(
        "TES_SCHEMA_REGISTRY_CA_FILE",
        "",
        "PEM, the CA that signs the registry's certificate; empty: the system's CAs",
    )
    registry_user: str = setting("TES_SCHEMA_REGISTRY_USER", "", "the user, or API key, at the registry")
    registry_password: str = setting(
        "TES_SCHEMA_REGISTRY_PASSWORD", "", "the user's password, or API secret", is_secret=True
    )
    registry_password_file: str = setting(
        "TES_SCHEMA_REGISTRY_PASSWORD_FILE", "", "the file that holds this password; read again for every request"
    )
    registry_token_file: str = setting(
        "TES_SCHEMA_REGISTRY_TOKEN_FILE", "", "the file that holds a bearer token; read again for every request"
    )

    def faults(self) -> Iterator[str]:
        """What is wrong with each setting."""
        yield from KafkaSettings.faults(self)
        yield from _registry_faults(self)

    def topic(self, name: str) -> str:
        """The name of a topic on this cluster."""
        return self.topic_prefix + name

    def secret_files(self) -> tuple[str, ...]:
        """See `KafkaSettings`."""
        return *KafkaSettings.secret_files(self), self.registry_password_file, self.registry_token_file


def _registry_faults(settings: RegistrySettings) -> Iterator[str]:
    url = settings.schema_registry_url
    if not url:
        why = "TES_SCHEMA_REGISTRY_URL is empty"
        yield from must_be_empty(settings, ("registry_ca_file", *_CREDENTIALS), why)
        return
    if faults := list(address_faults(settings, "schema_registry_url", ("http", "https"))):
        yield from faults
        return
    parts = urlsplit(url)
    if parts.scheme == "http":
        yield from must_be_empty(settings, ("registry_ca_file",), "TES_SCHEMA_REGISTRY_URL begins with http://")
        if any(getattr(settings, name) for name in _CREDENTIALS) and not is_loopback(parts.hostname or ""):
            rule = "must begin with https:// with a user or a token, because anyone who intercepts them can use them"
            yield fault(settings, "schema_registry_url", rule)
    if settings.registry_token_file:
        yield from must_be_empty(settings, _CREDENTIALS[:3], "TES_SCHEMA_REGISTRY_TOKEN_FILE is set")
    elif settings.registry_user:
        yield from must_be_one(settings, "registry_password", "registry_password_file")
        if ":" in settings.registry_user:
            yield fault(settings, "registry_user", "must not contain a colon, which ends the user's name")
    else:
        yield from must_be_empty(settings, _CREDENTIALS[1:3], "TES_SCHEMA_REGISTRY_USER is empty")
