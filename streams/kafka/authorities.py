"""Which certificates of servers are believed: those that an authority of the settings, or of the system, has signed."""

from __future__ import annotations

import ssl

from streams.settings.base import CheckedSettings, refuse


def trusting(settings: CheckedSettings, name: str) -> ssl.SSLContext:
    """A context that checks certificate and host name against a file of authorities, or against the system's.

    Raises:
        SettingsError: the file cannot be read, or holds no certificate.
    """
    # Not ssl.create_default_context: it writes session keys to a file where SSLKEYLOGFILE says so.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    file = getattr(settings, name)
    if not file:
        context.load_default_certs()
        return context
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        raise refuse(settings, name, "must be a PEM file with at least one certificate") from None
    except OSError as error:
        raise refuse(settings, name, f"must be readable: {error.strerror}") from None
    return context
