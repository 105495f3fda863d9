"""Apprise: the services that it knows, for operators only, since its addresses reach whatever they name.

It is not part of what notify needs: the extra `apprise` brings it. It blocks, so each message goes in a thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from streams.notices.model import (
    MOST_WHY_CHARS,
    OPERATORS,
    Channel,
    Destination,
    Form,
    Message,
    Outcome,
    OutcomeKind,
)
from streams.notify.channels.fields import cut
from streams.notify.channels.links import Links
from streams.notify.channels.wording import Card, card_of, more_words
from streams.visible import visible

if TYPE_CHECKING:
    from apprise import AppriseAsset

THREADS: Final = 4
CALL_SECONDS: Final = 15.0
"""For a service; Apprise ends the wait by itself."""
SEND_SECONDS: Final = 20.0
"""For all of it, a free thread included; a service that takes longer may have the message, and gets it again."""
MOST_ITEMS: Final = 15
MOST_BODY_CHARS: Final = 3_000


def is_installed() -> bool:
    """Whether there is Apprise on this machine."""
    return find_spec("apprise") is not None


class AppriseChannel(Channel):
    """Sends by Apprise; an address has one target, so that nobody is told again because another one failed."""

    def __init__(self, links: Links, *, call_seconds: float = CALL_SECONDS, send_seconds: float = SEND_SECONDS) -> None:
        """Nothing is connected to yet."""
        from apprise import AppriseAsset

        # What it says of a failure is in the outcome; its own log has addresses of operators.
        logging.getLogger("apprise").propagate = False
        self._asset: AppriseAsset = AppriseAsset(app_id="tes", app_desc="tes", async_mode=False, secure_logging=True)
        self._links, self._call_seconds, self._send_seconds = links, call_seconds, send_seconds
        self._threads = ThreadPoolExecutor(THREADS, "apprise")

    async def send(self, destination: Destination, message: Message) -> Outcome:
        """See `Channel`. A confirmation is a message with a link."""
        if destination.tenant_id != OPERATORS:
            return Outcome(OutcomeKind.REFUSED, None, "only operators are told by Apprise")
        card = card_of(destination, message, self._links)
        # An address that is none will never be one: nobody has to be asked again and again.
        never = OutcomeKind.REFUSED if message.form == Form.CONFIRMATION else OutcomeKind.FAILED
        work: Callable[[], Outcome] = lambda: self._send(destination.address, card, never)  # noqa: E731
        try:
            async with asyncio.timeout(self._send_seconds):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError:
            return Outcome(OutcomeKind.FAILED, None, f"no answer within {self._send_seconds:g} seconds")

    def close(self) -> None:
        """Take no more; what hangs ends by its own time-out."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _send(self, address: str, card: Card, never: OutcomeKind) -> Outcome:
        from apprise import Apprise, NotifyFormat

        service = Apprise.instantiate(address, asset=self._asset)
        if service is None:
            return Outcome(never, None, "Apprise knows no such address")
        if len(service) > 1:
            return Outcome(never, None, f"the address has {len(service)} targets: make a destination of each")
        sender = Apprise(asset=self._asset)
        sender.add(service)
        result = sender.notify(
            body=body_of(card),
            title=_unaddressed(card.title),
            body_format=NotifyFormat.TEXT,
            timeout=self._call_seconds,
        )
        whys = list(_failures(result))
        if not whys:
            return Outcome(OutcomeKind.DELIVERED, None, f"{service.service_name} took it")
        return Outcome(OutcomeKind.FAILED, None, cut(visible("; ".join(whys)), MOST_WHY_CHARS))


def body_of(card: Card) -> str:
    """A message as plain text, of at most `MOST_BODY_CHARS` characters, the link last."""
    lines = [card.text, *(f"{fact.label}: {fact.within(300)}" for fact in card.facts)]
    lines += [f"• {item.title} ({item.when})" for item in card.items[:MOST_ITEMS]]
    lines += [more_words(card, MOST_ITEMS)]
    end = [f"{card.link_label}: {card.link}"] if card.link else []
    room = MOST_BODY_CHARS - sum(map(len, end)) - 2
    return "\n".join([_unaddressed(cut("\n".join(filter(None, lines)), room)), *end])


def _unaddressed(text: str) -> str:
    """Text in which no service finds somebody to mention: names of servers are claims of strangers."""
    return text.replace("@", "@\u200b")


def _failures(result: Any) -> Iterator[str]:
    """Why it failed, for each target that did; also where the address says that failures do not matter."""
    for one in result:
        attempts = list(one)
        if attempts and attempts[-1]:
            continue
        said = [entry.message for attempt in attempts for entry in attempt]
        yield f"{one.name}: {said[-1] if said else one.status.name.lower()}"
    if not list(result):
        yield "nothing was sent"
