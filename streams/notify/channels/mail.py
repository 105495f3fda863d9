"""Mail to the operator's relay.

What the relay says at once is an outcome: a recipient that it refuses for good is gone, and parked at once. What it
finds out later comes back as a bounce, to the envelope's sender. A domain for bounces puts a token of the destination
into that address, by which `notify/bounces`, or whoever reads the mailbox, can tell which destination bounced; without
one, bounces go to the From address.
"""

from __future__ import annotations

from streams.notices.model import Channel, Destination, Form, Message, Outcome, OutcomeKind
from streams.notify.channels.links import Links
from streams.notify.channels.mail_message import BounceToken, MailAddressError, Sender, write_letter
from streams.notify.channels.mail_text import MailWriter
from streams.notify.channels.relay import Relay, RelayPool


class MailChannel(Channel):
    """Sends mails; a mail that is sent again has the same Message-ID and the same bytes."""

    def __init__(self, relay: Relay, sender: Sender, *, links: Links, bounce_token: BounceToken = lambda _: "") -> None:
        """Nothing is opened yet; `bounce_token` is asked where the sender has a domain for bounces."""
        self._pool, self._sender, self._links, self._bounce_token = RelayPool(relay), sender, links, bounce_token
        self.writer = MailWriter(links)

    async def send(self, destination: Destination, message: Message) -> Outcome:
        """See `Channel`. A confirmation is a mail with a link, behind which a page asks."""
        text = self.writer.write(destination, message)
        # Nobody can end what they have not begun.
        unsubscribe = "" if message.form == Form.CONFIRMATION else self._links.unsubscribe(destination, message)
        token = self._bounce_token(destination) if self._sender.bounce_domain else ""
        try:
            letter = write_letter(self._sender, destination, message, text, unsubscribe, token)
        except MailAddressError as error:
            return Outcome(OutcomeKind.GONE, None, f"the address {error}")
        return await self._pool.send(letter)

    async def close(self) -> None:
        """End all connections to the relay."""
        await self._pool.close()
