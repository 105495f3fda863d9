"""Secrets from files, as an orchestrator mounts them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from streams.settings.kafka import KafkaSettings

MAX_SECRET_BYTES = 65_536


class SecretFileError(ValueError):
    """A file that holds no secret; `rule` says what it has to be. What it holds is never told."""

    def __init__(self, path: Path, rule: str) -> None:
        super().__init__(f"{str(path)!r}: {rule}")
        self.rule = rule


def read_secret(path: Path) -> str:
    """The one line that a file holds, without its line end.

    Raises:
        SecretFileError: it cannot be read, or holds nothing, several lines or no text.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise SecretFileError(path, f"must be readable: {error.strerror}") from None
    if len(content) > MAX_SECRET_BYTES:
        raise SecretFileError(path, f"must hold at most {MAX_SECRET_BYTES} bytes")
    try:
        secret = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretFileError(path, "must hold text in UTF-8") from None
    if not secret or any(mark in secret for mark in "\r\n\0"):
        raise SecretFileError(path, "must hold one line that is not empty")
    return secret


def secrets_of(settings: KafkaSettings) -> list[str]:
    """What must be in no line of the log: secret settings, and what the files of secrets hold now."""
    secrets = settings.secrets()
    for file in settings.secret_files():
        if file:
            with suppress(SecretFileError):  # whoever needs it says what is wrong
                secrets.append(read_secret(Path(file)))
    return secrets
