"""The topics of the product: their names, and the error that says that one is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TOPICS: Final[Mapping[str, str]] = {
    "inbound_connection": "transport.connections.v1",
    "admin_command": "enforcement.commands.v1",
    "policy": "enforcement.policies.v1",
    "catalogue": "enforcement.catalogues.v1",
    "verdict": "enforcement.verdicts.v1",
    "admin_notification": "enforcement.notifications.v1",
    "server_report": "enforcement.servers.v1",
    "audit_record": "enforcement.audit.v1",
    "partition_progress": "enforcement.progress.v1",
    "connector": "enforcement.connectors.v1",
}
"""Topic by schema name (the `.avsc` file's name without its ending)."""
DEAD_LETTER_LOG: Final = "enforcement.dead-letters.v1"
"""What became of dead letters: one row for each that was replayed or discarded."""
DEAD_LETTER_SUFFIX: Final = ".dlq"
"""Of the topic that holds the dead letters of another."""


class TopicError(RuntimeError):
    """A topic is missing or could not be created; the message names it and the reason."""
