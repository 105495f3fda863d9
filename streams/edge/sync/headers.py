"""Names the schema of an event by the registry that its readers ask, in the place of the one that ships."""

from __future__ import annotations

import struct
from typing import Final

from streams.wire.registry import LocalRegistry, SchemaRegistry
from streams.wire.schemas import SUBJECTS

_HEADER: Final = struct.Struct(">bI")
_NAME: Final = "inbound_connection"


class EventHeaders:
    """Finds the header of a body by the header that the door gave it."""

    def __init__(self, registry: SchemaRegistry) -> None:
        """Name schemas by the ids of a registry."""
        self._registry, self._shipped = registry, LocalRegistry()
        self._known: dict[bytes, bytes] = {}

    def known(self, body: bytes) -> bytes | None:
        """The body as it is sent; None where its header must be learned first."""
        header = self._known.get(body[: _HEADER.size])
        return None if header is None else header + body[_HEADER.size :]

    def learn(self, body: bytes) -> None:
        """Ask the registry for the header of a body; this may take long.

        Raises:
            ValueError: the body names no schema that ships with this version, or the registry does not know it.
            RegistryError: the registry did not answer.
        """
        if len(body) < _HEADER.size or body[0] != 0:
            raise ValueError(f"the body begins with {body[: _HEADER.size]!r}: must be a header")
        schema = self._shipped.schema_of(_HEADER.unpack_from(body)[1])
        schema_id = self._registry.id_of(SUBJECTS[_NAME], schema)
        self._known[body[: _HEADER.size]] = _HEADER.pack(0, schema_id)
