"""The OpenAPI document of the HTTP door. `python -m streams.edge.http.openapi` prints it."""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from streams.domain.edge import Cause
from streams.domain.outputs.replies import MAX_REPLY_BYTES
from streams.edge.connectors.entries import MAX_CONNECTOR_CHARS, TYPES
from streams.edge.http.answers import FAILED, NAMES, UNMATCHED, UNSEEN
from streams.edge.http.requests import MAX_RECIPIENTS

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_NULLABLE: Final[Schema] = {"type": ["string", "null"]}

CLIENT: Final[Schema] = {
    "source_ip": {**_TEXT, "description": "Address of the client, IPv4 or IPv6."},
    "helo": {**_TEXT, "default": "", "description": "What the client said in HELO or EHLO."},
    "tls_subject": {
        **_NULLABLE,
        "description": "Name in the client's TLS certificate. Give it only where the certificate is trusted.",
    },
    "tls_fingerprint": {
        **_NULLABLE,
        "description": "SHA-256 of this certificate: 64 hexadecimal digits, with or without colons.",
    },
    "tenant_id": {
        **_NULLABLE,
        "pattern": "^[A-Za-z0-9._-]{1,64}$",
        "description": "The tenant, where the MTA itself knows it. Goes with connector_id; no connector is looked up.",
    },
    "connector_id": {
        **_NULLABLE,
        "minLength": 1,
        "maxLength": MAX_CONNECTOR_CHARS,
        "description": "The connector, where the MTA itself knows it. Goes with tenant_id.",
    },
    "connector_type": {
        "type": ["string", "null"],
        "enum": [*TYPES, None],
        "description": "Type of this connector; ON_PREMISES where it is left out.",
    },
}
MESSAGE: Final[Schema] = {
    **CLIENT,
    "received": {
        "type": "array",
        "items": _TEXT,
        "description": "The Received fields that the client sent, topmost first, without the MTA's own line.",
    },
    "message_id": {**_NULLABLE, "description": "The Message-ID field."},
    "recipients": {"type": "integer", "minimum": 0, "maximum": MAX_RECIPIENTS, "default": 0},
    "queue_id": {
        **_NULLABLE,
        "description": "The MTA's name for the message. The event's id is made of it and of the moment of the answer, "
        "so asking again about the message makes another event.",
    },
}
_CAUSES: Final = {
    **{cause.name: cause.value for cause in Cause},
    UNMATCHED: "The client comes through no connector that is configured.",
    UNSEEN: "Nothing can be said before the headers of a message are seen.",
    FAILED: "The door is at fault; see its log.",
}
ANSWER: Final[Schema] = {
    "action": {**_TEXT, "enum": list(NAMES.values()), "description": "What to do with the message."},
    "code": {"type": ["integer", "null"], "enum": [450, 550, None], "description": "SMTP code; null: accept."},
    "enhanced_code": {**_NULLABLE, "enum": ["4.7.230", "5.7.230", None]},
    "text": {**_NULLABLE, "description": "Text of the reply, behind the codes."},
    "reply": {
        **_NULLABLE,
        "maxLength": MAX_REPLY_BYTES,
        "description": "The whole reply: one line of printable ASCII.",
    },
    "cause": {
        **_TEXT,
        "enum": list(_CAUSES),
        "description": "Why. Where mail is only reported, action is accept whatever the cause.\n\n"
        + "\n".join(f"* {name}: {text}" for name, text in _CAUSES.items()),
    },
    "event_id": {**_NULLABLE, "description": "Id of the event that was stored; null: none was."},
    "header": {**_NULLABLE, "description": "Value of an X-TES header for the message, where one is wanted."},
}
_PROBLEM: Final[Schema] = {
    "type": _TEXT,
    "title": _TEXT,
    "status": {"type": "integer"},
    "detail": _TEXT,
    "errors": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"field": _TEXT, "value": _TEXT, "rule": _TEXT},
            "required": ["field", "value", "rule"],
        },
    },
}
_REFUSALS: Final = {
    "400": "A field is wrong; errors names each.",
    "408": "The request did not come in time.",
    "413": "The body is too large.",
    "415": "The body is not application/json, or is encoded.",
}


def document() -> bytes:
    """The document, as JSON."""
    content = {
        "openapi": "3.1.0",
        "info": {
            "title": "Edge of transport-based enforcement",
            "version": "1",
            "description": "Asked by an MTA for each message: accept, delay or refuse. It never answers 5xx for a "
            "fault of its own; it accepts then. An MTA that gets no answer in 2 seconds should accept too.",
        },
        "paths": {
            "/v1/decide": _operation(
                "decide", "Decide about a message at the end of its headers, and tell of it.", "Message"
            ),
            "/v1/decide-mail": _operation(
                "decide_mail",
                "Decide at MAIL, before the headers: refuses only a client that was refused a moment ago.",
                "Client",
            ),
        },
        "components": {
            "schemas": {
                "Client": _object(CLIENT, ["source_ip"]),
                "Message": _object(MESSAGE, ["source_ip", "received"]),
                "Answer": _object(ANSWER, list(ANSWER)),
                "Problem": {"type": "object", "properties": _PROBLEM, "required": ["type", "title", "status"]},
            }
        },
    }
    return json.dumps(content, indent=1).encode() + b"\n"


def _operation(name: str, summary: str, schema: str) -> Schema:
    def body(kind: str, of: str) -> Schema:
        return {"content": {kind: {"schema": {"$ref": f"#/components/schemas/{of}"}}}}

    refusals = {
        status: {"description": text, **body("application/problem+json", "Problem")}
        for status, text in _REFUSALS.items()
    }
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "requestBody": {"required": True, **body("application/json", schema)},
            "responses": {"200": {"description": "What to do.", **body("application/json", "Answer")}, **refusals},
        }
    }


def _object(properties: Schema, required: list[str]) -> Schema:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


if __name__ == "__main__":
    sys.stdout.write(document().decode())
