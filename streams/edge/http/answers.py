"""What the HTTP door answers, as JSON in ASCII."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson

from streams.domain.policy.ladder import Action
from streams.edge.client import Answer
from streams.edge.http.requests import FieldError
from streams.visible import visible_json

NAMES: Final = {Action.ACCEPT: "accept", Action.THROTTLE: "defer", Action.BLOCK: "reject"}
UNMATCHED: Final = "UNMATCHED"
"""The cause where a client comes through no connector."""
FAILED: Final = "FAILED"
"""The cause where the door is at fault."""
UNSEEN: Final = "UNSEEN"
"""The cause where nothing can be said before the headers are seen."""

_ACTION_OF_CODE: Final = {"4": "defer", "5": "reject"}


def accepted(cause: str) -> bytes:
    """The answer to a message of which nothing was decided."""
    return orjson.dumps(_content("accept", None, cause, None, None))


def answer_json(answer: Answer) -> bytes:
    """What the door decided."""
    decision = answer.decision
    action = "accept" if answer.reply is None else _ACTION_OF_CODE[answer.reply[0]]
    cause = FAILED if decision is None else decision.cause.name
    # Replies and headers are ASCII already.
    return orjson.dumps(_content(action, answer.reply, cause, answer.event_id, answer.header))


def problem_json(status: HTTPStatus, detail: str, errors: Sequence[FieldError] = ()) -> bytes:
    """A request that is refused, as RFC 9457 has it, with nothing in it that a terminal would obey."""
    content: dict[str, Any] = {"type": "about:blank", "title": status.phrase, "status": int(status), "detail": detail}
    if errors:
        content["errors"] = [error._asdict() for error in errors]
    return visible_json(content)


def _content(action: str, reply: str | None, cause: str, event_id: str | None, header: str | None) -> dict[str, Any]:
    code, enhanced, text = (None, None, None) if reply is None else reply.split(" ", 2)
    return {
        "action": action,
        "code": None if code is None else int(code),
        "enhanced_code": enhanced,
        "text": text,
        "reply": reply,
        "cause": cause,
        "event_id": event_id,
        "header": header,
    }
