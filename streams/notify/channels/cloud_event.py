"""The body of a webhook: a CloudEvents 1.0 event in JSON, with the fields of the notice as the topic has them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from streams.notices.model import Form, Message
from streams.notify.channels.fields import TIGHT, USUAL, Bounds, bounded
from streams.wire.cloud_events import NOTIFICATION_TYPE
from streams.wire.records import to_json

NOTICE_TYPE: Final = NOTIFICATION_TYPE
"""As the record on the topic, whose data is Avro."""
TEST_TYPE: Final = "tes.test.v1"
DIGEST_TYPE: Final = "tes.digest.v1"
CHALLENGE_TYPE: Final = "tes.challenge.v1"
CONTENT_TYPE: Final = JSONFormat.CONTENT_TYPE
MAX_BODY_BYTES: Final = 20_000
"""As the Standard Webhooks specification advises; a single notice whose fields are bounded is always less."""
_FORMAT: Final = JSONFormat()


def event_of(message: Message, source: str, link: str) -> bytes:
    """The event of a message, of at most about `MAX_BODY_BYTES`.

    A digest that would be longer has its first notices, how many are left out, and the link where all are shown. A
    receiver answers a challenge with `{"challenge": ...}`.
    """
    match message.form:
        case Form.CONFIRMATION:
            return _event(message, CHALLENGE_TYPE, source, message.made_at, [], {"challenge": message.token})
        case Form.TEST:
            return _event(message, TEST_TYPE, source, message.made_at, [], {"link": link})
        case Form.SINGLE:
            body = _notice_event(message, source, USUAL)
            return body if len(body) <= MAX_BODY_BYTES else _notice_event(message, source, TIGHT)
        case _:
            return _digest_event(message, source, link)


def _digest_event(message: Message, source: str, link: str) -> bytes:
    bounds = USUAL if len(message.notices) == 1 else TIGHT
    notices = [_fields(notice, bounds) for notice in message.notices]
    count, kept = len(notices) + message.omitted, notices
    while True:
        data = {"count": count, "left_out": count - len(kept), "link": link, "notices": kept}
        body = _event(message, DIGEST_TYPE, source, message.made_at, notices, data)
        if len(body) <= MAX_BODY_BYTES or len(kept) <= 1:
            return body
        # A share of what is too long goes, one notice at least: few rounds, and little more than has to go.
        kept = kept[: min(len(kept) - 1, len(kept) * MAX_BODY_BYTES // len(body) + 1)]


def _notice_event(message: Message, source: str, bounds: Bounds) -> bytes:
    notice = message.notices[0]
    fields = _fields(notice, bounds)
    return _event(message, NOTICE_TYPE, source, notice["occurred_at"], [fields], fields)


def _fields(notice: dict[str, Any], bounds: Bounds) -> dict[str, Any]:
    fields, cut_fields = bounded(to_json(notice), bounds)
    return {**fields, "cut_fields": cut_fields} if cut_fields else fields


def _event(
    message: Message, kind: str, source: str, at: int, notices: Sequence[dict[str, Any]], data: dict[str, Any]
) -> bytes:
    attributes: dict[str, Any] = {
        "id": message.message_id,
        "source": source,
        "type": kind,
        "time": datetime.fromtimestamp(at / 1000, UTC),
        "datacontenttype": "application/json",
    }
    servers = {notice.get("server") for notice in notices}
    if len(servers) == 1 and (server := servers.pop()):
        attributes["subject"] = server
    return _FORMAT.write(CloudEvent(attributes, data))
