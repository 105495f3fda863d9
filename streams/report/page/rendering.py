"""Jinja2 as the page uses it: everything is escaped, and what is not known is an error."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from streams.notices.masking import shown_address
from streams.report.page import destination_words
from streams.report.page.static import static_path
from streams.texts.languages import Language
from streams.texts.status_words import rate_words, rates_of, status_words
from streams.visible import visible

_MOST_CHARS: Final = 64
"""Of a name in a list; the whole of it is on its page and in its title."""


@lru_cache
def environment() -> Environment:
    """The templates, all compiled: who asks for a page first does not wait for it."""
    made = Environment(
        loader=PackageLoader("streams.report.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters["visible"] = visible
    made.filters["short"] = shorten
    made.filters["shown_address"] = shown_address
    made.globals.update(
        static=static_path,
        moment=moment_element,
        day=day_element,
        status_words=status_words,
        rate_words=rate_words,
        rates_of=rates_of,
        told=destination_words,
    )
    for name in made.list_templates():
        made.get_template(name)
    return made


def render(template: str, values: Mapping[str, Any]) -> str:
    """A page."""
    return environment().get_template(template).render(values)


def shorten(text: str, most: int = _MOST_CHARS) -> str:
    """A text in which every character can be seen, cut where it is long."""
    shown = visible(text)
    return shown if len(shown) <= most else f"{shown[:most]}…"


@lru_cache(8_192)  # a table says the same dates again and again
def moment_element(language: Language, at: int) -> Markup:
    """A moment with what a script needs to say it in the reader's own zone too."""
    return _time(at, language.moment(at), " data-utc")


@lru_cache(8_192)
def day_element(language: Language, at: int) -> Markup:
    """The day of a moment in short; the whole moment is its title."""
    return _time(at, language.short_date(at), Markup(' title="{}"').format(language.moment(at)))


def _time(at: int, shown: str, attributes: str) -> Markup:
    machine = datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Markup('<time datetime="{}"{}>{}</time>').format(machine, Markup(attributes), escape(shown))  # noqa: S704
