"""What an edge would have done with the connections of a feed, as a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from streams.domain.policy.ladder import Action
from streams.domain.time import iso
from streams.service.simulation import EdgeDecision
from streams.wire.records import to_json_line


class DecisionFile:
    """What an edge would have done with each connection, one line each, as it comes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._counts: Counter[str] = Counter()

    def add(self, decided: EdgeDecision) -> None:
        """Write one."""
        connection, verdict, decision = decided.connection, decided.verdict, decided.decision
        self._counts[decision.action.value] += 1
        row = {
            "event_id": connection.event_id,
            "observed_at": iso(connection.observed_at),
            "tenant_id": decided.key.tenant_id,
            "server": decided.key.server,
            "verdict_revision": None if verdict is None else verdict.revision,
            "action": decision.action.value,
            "cause": decision.cause.name,
            "reply": decision.reply,
        }
        self._file.write(to_json_line(row))

    def close(self) -> str:
        """End the file; say what is in it."""
        self._file.close()
        counts = (f"{self._counts[action.value]} {action.value}" for action in Action)
        return f"an edge would have answered: {', '.join(counts)}"
