"""The two texts of a mail, plain and HTML, from templates; a fault of a template costs the layout, never the notice."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from streams.log_events import log_event
from streams.notices.model import Destination, Form, Message
from streams.notify.channels.fields import bounded, cut
from streams.notify.channels.links import Links
from streams.notify.channels.wording import Card, card_of, more_words
from streams.visible import visible, visible_lines

log = logging.getLogger(__name__)

COLORS: Final = {"blocked": "#c4314b", "reported": "#c77700", "good": "#2e7d32"}
"""Of the roles; that of any other is grey."""
OTHER_COLOR: Final = "#6b7280"
MOST_SUBJECT_CHARS: Final = 150
_MOST_PLAIN_NOTICES: Final = 100


class MailText(NamedTuple):
    """What a mail says. `html` is None where its template failed; no text has an end of line but those of its lines."""

    subject: str
    plain: str
    html: str | None


class MailWriter:
    """Writes the texts of mails.

    `template_failures` counts the mails whose template failed: these have the titles and texts of their records, as
    the engine wrote them in English.
    """

    def __init__(self, links: Links, environment: Environment | None = None) -> None:
        """Write by the templates of the product, or those of another environment."""
        self._links = links
        self._environment = environment or templates()
        self.template_failures = 0

    def write(self, destination: Destination, message: Message) -> MailText:
        """The texts of a message to a destination."""
        try:
            return self._rendered(card_of(destination, message, self._links), destination, message)
        except Exception as error:  # noqa: BLE001 -- whatever a template or a translation raises
            self.template_failures += 1
            fields = log_event("notify_template_failed", form=message.form, language=destination.language)
            log.error("a mail is sent without its layout: %s: %s", type(error).__name__, error, extra=fields)
            is_question = message.form == Form.CONFIRMATION
            links = self._links
            return _plain(message, links.confirm(destination, message) if is_question else links.page(destination))

    def _rendered(self, card: Card, destination: Destination, message: Message) -> MailText:
        values: dict[str, Any] = {
            "card": card,
            "color": COLORS.get(card.role, OTHER_COLOR),
            "items": [{**item._asdict(), "color": COLORS.get(item.role, OTHER_COLOR)} for item in card.items],
            "lines": [line for line in card.text.split("\n") if line.strip()],
            "more": more_words(card, len(card.items)),
            "preview": cut(card.text or ", ".join(item.title for item in card.items[:3]), 140),
            "unsubscribe": self._links.unsubscribe(destination, message),
        }
        html = self._environment.get_template("message.html").render(values)
        plain = self._environment.get_template("message.txt").render(values)
        return MailText(_subject(card.title), plain.strip() + "\n", html)


@lru_cache
def templates() -> Environment:
    """The templates of the product, compiled as they are used; what is put into HTML is escaped."""
    return Environment(
        loader=PackageLoader("streams.notify.channels", "templates"),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def _plain(message: Message, link: str) -> MailText:
    """What is left without a template: titles and texts of the records, which need nothing of ours."""
    notices = [bounded(notice)[0] for notice in message.notices[:_MOST_PLAIN_NOTICES]]
    more = len(message.notices) - len(notices) + message.omitted
    match message.form:
        case Form.CONFIRMATION:
            subject = "Do you want notices about mail servers?"
        case Form.TEST:
            subject = "Test: notices arrive here"
        case Form.SINGLE:
            subject = notices[0]["title"]
        case _:
            subject = f"{len(notices) + more} notices about mail servers"
    parts = [f"{visible(one['title'])}\n\n{visible_lines(one['text'])}" for one in notices] or [subject]
    parts += [f"{more} more"] if more else []
    return MailText(_subject(subject), "\n\n".join([*parts, *filter(None, [link])]) + "\n", None)


def _subject(text: str) -> str:
    return cut(visible(text), MOST_SUBJECT_CHARS)
