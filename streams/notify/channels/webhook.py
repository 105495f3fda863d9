"""Webhooks: a signed event, posted once for each attempt."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from streams.domain.time import DAY_MS, moment_ms
from streams.notices.model import Channel, Destination, Form, Message, Outcome, OutcomeKind
from streams.notices.reach import UrlError, check_url
from streams.notices.webhook_secrets import SigningKeyError
from streams.notify.channels.cloud_event import CONTENT_TYPE, event_of
from streams.notify.channels.guard import Answer, CallError, GuardedClient
from streams.notify.channels.links import Links
from streams.notify.channels.signing import KeyPair, sign_message

MOST_RETRY_AFTER_MS: Final = DAY_MS
_BUSY: Final = (429, 503)
_GONE: Final = 410


class WebhookChannel(Channel):
    """Posts CloudEvents with the headers of Standard Webhooks.

    A redirect fails, since following it would be a call to an address that nobody confirmed. So does a URL that may not
    be called: a name may resolve to another address tomorrow, and the operator may allow a network. Whatever failed is
    tried again, and parks its destination after days; no notice is given up for it before.
    """

    def __init__(
        self,
        client: GuardedClient,
        *,
        source: str,
        links: Links,
        clock: Callable[[], int],
        keys: KeyPair | None = None,
    ) -> None:
        """Prepare a channel.

        Args:
            client: entered, and closed by whoever made it.
            source: the `source` of every event, a URI.
            links: where a destination's notices are all shown.
            clock: UTC milliseconds.
            keys: of the signatures v1a; None for v1 alone.
        """
        self._client, self._source, self._links, self._clock, self._keys = client, source, links, clock, keys

    async def send(self, destination: Destination, message: Message) -> Outcome:
        """Post once.

        A confirmation is delivered only if the receiver answers with its token: 2xx, and a body that is the token, or
        JSON with it at `challenge`. A server that says 200 to everything does not pass, nor one that returns what it
        was sent.
        """
        body = event_of(message, self._source, self._links.page(destination))
        answer = await self._post(destination, message.message_id, body)
        if isinstance(answer, Outcome):
            return answer
        outcome = outcome_of(answer, self._clock())
        is_wanted = message.form != Form.CONFIRMATION or _is_echo(answer.body, message.token)
        if outcome.kind != OutcomeKind.DELIVERED or is_wanted:
            return outcome
        return Outcome(OutcomeKind.FAILED, answer.status, "the answer does not have the challenge")

    async def _post(self, destination: Destination, event_id: str, body: bytes) -> Answer | Outcome:
        try:
            url = check_url(destination.address, self._client.rules)
            headers = sign_message(destination, event_id, self._clock(), body, self._keys)
        except UrlError as error:
            return Outcome(OutcomeKind.FAILED, None, f"the URL {error}")
        except SigningKeyError as error:
            return Outcome(OutcomeKind.FAULT, None, f"not signed: {error}")
        try:
            return await self._client.post(url, body, {"Content-Type": CONTENT_TYPE, **headers})
        except CallError as error:
            return Outcome(OutcomeKind.FAILED, None, str(error))


def outcome_of(answer: Answer, now: int) -> Outcome:
    """What an answer means; `now` in UTC milliseconds."""
    status = answer.status
    if 200 <= status < 300:
        return Outcome(OutcomeKind.DELIVERED, status)
    if 300 <= status < 400:
        return Outcome(OutcomeKind.FAILED, status, "redirects are not followed")
    if status == _GONE:
        return Outcome(OutcomeKind.GONE, status, "the receiver says that it is gone")
    wait = retry_after_ms(answer.header("Retry-After"), now) if status in _BUSY else None
    return Outcome(OutcomeKind.FAILED, status, f"the receiver answered {status}", wait)


def retry_after_ms(value: str | None, now: int) -> int | None:
    """The milliseconds that `Retry-After` asks for, at most a day; None where it asks for nothing that can be read.

    It has seconds (Discord sends fractions of one) or a date of HTTP.
    """
    if value is None:
        return None
    try:
        wait = float(value) * 1000 if value.replace(".", "", 1).isdecimal() else None
        if wait is None:
            moment = parsedate_to_datetime(value)
            wait = moment_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return int(min(max(wait, 0), MOST_RETRY_AFTER_MS))


def _is_echo(body: bytes, challenge: str) -> bool:
    expected = challenge.encode()
    if hmac.compare_digest(body.strip(), expected):
        return True
    try:
        answered = json.loads(body)
    except (ValueError, RecursionError):
        return False
    echoed = answered.get("challenge") if isinstance(answered, dict) else None
    return isinstance(echoed, str) and hmac.compare_digest(echoed.encode("utf-8", "replace"), expected)
