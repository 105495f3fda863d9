"""The door's decision about one message, with every fact that it is based on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from streams.domain.edge import Decision, EdgeVerdict, Trust, in_force
from streams.domain.exchange.detection import UNNAMED, Detection, detect
from streams.domain.keys import ServerKey
from streams.domain.time import iso
from streams.edge.client import Client, Connector
from streams.edge.deciding import FindVerdict, decide_by, kept_lines


class Explanation(NamedTuple):
    """What the door would do with a message at `moment` (UTC milliseconds), and why."""

    connector: Connector
    moment: int
    found: Detection
    verdict: EdgeVerdict | None
    trust: Trust
    decision: Decision

    def shown(self) -> dict[str, Any]:
        """For JSON."""
        decision = self.decision
        return {
            "tenant_id": self.connector.tenant_id,
            "connector_id": self.connector.connector_id,
            "at": iso(self.moment),
            "server": None if self.found.server == UNNAMED else self.found.server,
            "build": None if self.found.build is None else str(self.found.build),
            "origin": self.found.origin.value,
            "verdict": None if self.verdict is None else self._verdict(self.verdict),
            "trust": self.trust.value,
            "action": decision.action.value,
            "cause": decision.cause.name,
            "because": decision.cause.value,
            "reply": decision.reply,
        }

    def _verdict(self, verdict: EdgeVerdict) -> dict[str, Any]:
        rates = in_force(verdict, self.moment)
        return {
            "revision": verdict.revision,
            "stage": rates.stage,
            "throttle_minutes_per_hour": rates.throttle_minutes_per_hour,
            "block_minutes_per_hour": rates.block_minutes_per_hour,
            "next_stage_at": None if rates.next_stage_at is None else iso(rates.next_stage_at),
            "paused_until": None if verdict.paused_until is None else iso(verdict.paused_until),
            "required_build": None if verdict.required_build is None else str(verdict.required_build),
            "is_mixed": verdict.is_mixed,
        }


def explain(
    connector: Connector,
    client: Client,
    received: Sequence[str],
    find_verdict: FindVerdict,
    trust: Trust,
    moment: int,
) -> Explanation:
    """Decide about a message as the door does once it has seen the headers.

    Args:
        connector: through which the client comes in.
        client: who sends the message.
        received: its `Received` values, topmost first.
        find_verdict: looks up the newest verdict about a server.
        trust: how far verdicts are believed.
        moment: UTC milliseconds.

    Raises:
        MalformedError: the headers name no server.
    """
    found = detect(kept_lines(tuple(received)), client.helo, client.source_ip)
    verdict, decision = decide_by(find_verdict, ServerKey(connector.tenant_id, found.server), found, trust, moment)
    return Explanation(connector, moment, found, verdict, trust, decision)
