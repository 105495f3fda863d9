"""What a request to a schema registry shows of who asks."""

from __future__ import annotations

import re
from base64 import b64encode
from pathlib import Path
from typing import Final

from streams.kafka.secret_files import SecretFileError, read_secret
from streams.settings.registry import RegistrySettings

_TOKEN: Final = re.compile("[!-~]+")


def authorization_of(settings: RegistrySettings) -> str | None:
    """The header `Authorization`, None where the settings name nobody.

    Files are read at each call, as whoever mounts them may have replaced them.

    Raises:
        SecretFileError: a file holds no password or token.
    """
    if settings.registry_token_file:
        file = Path(settings.registry_token_file)
        if not _TOKEN.fullmatch(token := read_secret(file)):
            raise SecretFileError(file, "must hold a token of visible ASCII characters")
        return f"Bearer {token}"
    if not settings.registry_user:
        return None
    password = settings.registry_password or read_secret(Path(settings.registry_password_file))
    return f"Basic {b64encode(f'{settings.registry_user}:{password}'.encode()).decode()}"
