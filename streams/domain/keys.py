"""The key of a server, as records and state rows have it."""

from __future__ import annotations

from typing import NamedTuple


class ServerKey(NamedTuple):
    """Identifies a server: its tenant and its name. Another tenant may have a server of the same name."""

    tenant_id: str
    server: str

    def topic_key(self) -> bytes:
        """The key of the server's own records, `tenant/server`, in UTF-8."""
        return f"{self.tenant_id}/{self.server}".encode()

    @classmethod
    def parse(cls, key: bytes) -> ServerKey:
        """Read a `topic_key`: the first `/` ends the tenant, whose id has none; without a `/` the name is empty."""
        tenant_id, _, server = key.decode().partition("/")
        return cls(tenant_id, server)
