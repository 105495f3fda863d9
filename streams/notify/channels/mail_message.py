"""A mail as it goes over the wire: its headers, its envelope, its bytes."""

from __future__ import annotations

from binascii import b2a_qp
from collections.abc import Callable
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, formataddr, parseaddr
from typing import Final, NamedTuple

from yarl import URL

from streams.domain.ids import stable_id
from streams.domain.mailboxes import is_host_name, is_mail_address
from streams.notices.model import Destination, Form, Message
from streams.notify.channels.mail_text import MailText
from streams.visible import visible

BOUNCE_LOCAL: Final = "bounce"


class MailAddressError(ValueError):
    """A text that no mail can be sent to; the message says what it has to be."""


class MailAddress(NamedTuple):
    """A mailbox; its domain in ASCII (IDNA). `needs_utf8` where only a relay with SMTPUTF8 takes it."""

    local: str
    domain: str

    @property
    def needs_utf8(self) -> bool:
        """Whether its local part has characters outside ASCII."""
        return not self.local.isascii()

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"


class Sender(NamedTuple):
    """Who mails are from.

    Attributes:
        name: beside the address; may be empty.
        address: of the header From, and of the envelope where there is no domain for bounces.
        reply_to: where answers go; None for `address`.
        bounce_domain: bounces go to `bounce+TOKEN` there, and name their destination by it (VERP); empty for none.
    """

    name: str
    address: MailAddress
    reply_to: MailAddress | None = None
    bounce_domain: str = ""


class Letter(NamedTuple):
    """A mail with its envelope. `needs_utf8` where only a relay with SMTPUTF8 takes it."""

    sender: str
    recipient: str
    content: bytes
    message_id: str
    needs_utf8: bool


def parse_address(text: str) -> MailAddress:
    """A mailbox, without a name, a comment or quotes.

    Raises:
        MailAddressError: it is none.
    """
    if not is_mail_address(text) or visible(text) != text:
        raise MailAddressError("must be an address such as NAME@HOST")
    local, _, domain = text.rpartition("@")
    try:
        ascii_domain = URL.build(scheme="https", host=domain).raw_host or ""
    except (ValueError, UnicodeError):
        ascii_domain = ""
    if not is_host_name(ascii_domain):
        raise MailAddressError("must be at a host's full name, such as NAME@HOST")
    return MailAddress(local, ascii_domain)


def parse_sender(text: str) -> tuple[str, MailAddress]:
    """A name and an address from `NAME <ADDRESS>` or `ADDRESS`.

    Raises:
        MailAddressError: there is no address in it.
    """
    name, address = parseaddr(text)
    return visible(name), parse_address(address)


def write_letter(
    sender: Sender, destination: Destination, message: Message, text: MailText, unsubscribe: str, bounce_token: str = ""
) -> Letter:
    """The mail of a message.

    Args:
        sender: who it is from.
        destination: to whom.
        message: what it is; its id is the Message-ID's, so a mail that is sent again is known as the same one.
        text: what it says.
        unsubscribe: an https URL to which a mail program posts (RFC 8058); empty for none.
        bounce_token: names the destination in the envelope's sender.

    Raises:
        MailAddressError: no mail can be sent to the destination.
    """
    recipient = parse_address(destination.address)
    needs_utf8 = recipient.needs_utf8 or sender.address.needs_utf8
    message_id = f"<{message.message_id}@{sender.address.domain}>"
    headers = [
        ("From", _named(sender.name, sender.address)),
        ("To", str(recipient)),
        ("Subject", _encoded("Subject", text.subject)),
        ("Date", format_datetime(datetime.fromtimestamp(message.made_at // 1000, UTC))),
        ("Message-ID", message_id),
        # No answer of a machine to a mail of a machine (RFC 3834).
        ("Auto-Submitted", "auto-generated"),
        ("X-Auto-Response-Suppress", "All"),
        ("MIME-Version", "1.0"),
    ]
    if sender.reply_to is not None:
        headers.append(("Reply-To", str(sender.reply_to)))
    if thread := _thread_of(message):
        root = f"<{thread}@{sender.address.domain}>"
        headers += [("In-Reply-To", root), ("References", root)]
    if unsubscribe:
        headers += [("List-Unsubscribe", f"<{unsubscribe}>"), ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")]
    content = _head(headers) + _body(message, text)
    return Letter(_envelope_sender(sender, bounce_token), str(recipient), content, message_id, needs_utf8=needs_utf8)


def _head(headers: list[tuple[str, str]]) -> bytes:
    # The parts of the standard library that build a mail take 10 ms for each: their headers are parsed to be written.
    lines = []
    for name, value in headers:
        if "\n" in value.replace("\r\n ", "") or "\r" in value.replace("\r\n ", ""):
            raise ValueError(f"{name} must be one line")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode()


def _body(message: Message, text: MailText) -> bytes:
    plain = _part("plain", text.plain)
    if text.html is None:
        return plain
    # The same at each attempt, and never in an encoded part: there no underscore follows that sign.
    boundary = f"=_{stable_id(message.message_id)}"
    edge = f"\r\n--{boundary}".encode()
    head = f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n'.encode()
    return b"".join((head, edge[2:], b"\r\n", plain, edge, b"\r\n", _part("html", text.html), edge, b"--\r\n"))


def _part(subtype: str, text: str) -> bytes:
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'
    return head.encode() + b2a_qp("\r\n".join(text.splitlines()).encode(), istext=True) + b"\r\n"


def _named(name: str, address: MailAddress) -> str:
    # `formataddr` quotes and encodes the name; an address outside ASCII is none to it.
    return formataddr((name, "a@b")).replace("<a@b>", f"<{address}>") if name else str(address)


def _encoded(name: str, text: str) -> str:
    """A header's text, in encoded words where it has to be: where it looks like one too, or folds in its own way."""
    is_plain = text.isascii() and text.isprintable() and "=?" not in text
    return Header(text, "us-ascii" if is_plain else "utf-8", header_name=name).encode(linesep="\r\n")


def _thread_of(message: Message) -> str | None:
    """The id of the mail that never was, under which a mail program shows all of one server's episode."""
    if message.form != Form.SINGLE:
        return None
    record = message.notices[0]
    if not record.get("server") or record.get("detected_at") is None:
        return None
    return stable_id(f"episode/{record['tenant_id']}/{record['server']}/{record['detected_at']}")


def _envelope_sender(sender: Sender, bounce_token: str) -> str:
    if not sender.bounce_domain or not bounce_token:
        return str(sender.address)
    return f"{BOUNCE_LOCAL}+{bounce_token}@{sender.bounce_domain}"


BounceToken = Callable[[Destination], str]
"""A text that names a destination, and that nobody else can make: at most 50 letters, digits, `-` and `_`."""
