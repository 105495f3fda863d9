"""Languages: which one a reader wants, its sentences, dates and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from importlib.resources import files
from io import BytesIO
from typing import Any, Final
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from babel.support import NullTranslations, Translations
from markupsafe import Markup, escape

from streams.domain.time import DAY_MS, day_of

DEFAULT: Final = "en"
NAMES: Final[Mapping[str, str]] = {"en": "English", "es": "Español", "de": "Deutsch"}
"""The languages there are, each by its own name."""
_LOCALES: Final = {"en": "en_GB", "es": "es", "de": "de"}
_DAY: Final = {"en": "d MMM y", "es": "d MMM y", "de": "d. MMM y"}
_SHORT_DAY: Final = {"en": "d MMM", "es": "d MMM", "de": "d. MMM"}


class Language:
    """A language. Moments are UTC milliseconds, days whole days since 1970."""

    def __init__(self, code: str) -> None:
        """Read its catalogue; English is in the source."""
        self.code = code
        self._locale = Locale.parse(_LOCALES[code])
        self._translations: NullTranslations = NullTranslations() if code == DEFAULT else _translations(code)

    def say(self, text: str, /, **values: Any) -> str:
        """A text in this language, with its values; values that are markup make it markup, with all others escaped."""
        return _filled(self._translations.gettext(text), values)

    def say_many(self, one: str, many: str, n: int, /, **values: Any) -> str:
        """Likewise a text about `n` things, which it has as `%(n)s`."""
        return _filled(self._translations.ngettext(one, many, n), {"n": self.number(n), **values})

    def number(self, number: int) -> str:
        """A number with its separators."""
        return _number(self.code, number)

    def moment(self, at: int) -> str:
        """A moment, as `10 Dec 2026, 00:15 UTC`."""
        return format_datetime(_utc(at), f"{_DAY[self.code]}, HH:mm 'UTC'", locale=self._locale)

    def local_moment(self, at: int, zone: str) -> str:
        """A moment in a zone and in UTC, as `10 Dec 2026, 01:15 GMT+01:00 (00:15 UTC)`; an unknown zone is UTC."""
        local = _utc(at).astimezone(_zone(zone))
        if local.utcoffset() == timedelta(0):
            return self.moment(at)
        shown = format_datetime(local, f"{_DAY[self.code]}, HH:mm ZZZZ", tzinfo=local.tzinfo, locale=self._locale)
        is_same_day = local.date() == _utc(at).date()
        return f"{shown} ({f'{_utc(at):%H:%M} UTC' if is_same_day else self.moment(at)})"

    def long_date(self, at: int) -> str:
        """The UTC day of a moment, as `10 December 2026`."""
        return format_date(_utc(at).date(), "long", locale=self._locale)

    def day(self, day: date | str) -> str:
        """A day of the calendar, or its ISO 8601 text, as `10 Dec 2026`."""
        day = date.fromisoformat(day) if isinstance(day, str) else day
        return format_date(day, _DAY[self.code], locale=self._locale)

    def short_date(self, at: int) -> str:
        """The UTC day of a moment, as `10 Dec`."""
        return self.short_day(at // DAY_MS)

    def short_day(self, day: int) -> str:
        """A day, as `10 Dec`."""
        return _short_day(self.code, day)

    def listed(self, names: list[str]) -> str:
        """Names one after the other, as `a, b and c`."""
        if len(names) < 2:
            return "".join(names)
        return self.say("%(names)s and %(last)s", names=", ".join(names[:-1]), last=names[-1])


def choose_language(asked: str | None, remembered: str | None, accepted: str) -> str:
    """The code of a language: the one asked for, else the one remembered, else the best of an `Accept-Language`."""
    for wanted in (asked, remembered):
        if wanted in NAMES:
            return str(wanted)
    ranked = sorted(filter(None, map(_ranked, accepted[:1_000].split(","))), reverse=True)
    return next((code for _, code in ranked if code in NAMES), DEFAULT)


@lru_cache
def language_of(code: str) -> Language:
    """A language by its code; read once."""
    return Language(code)


def _ranked(part: str) -> tuple[float, str] | None:
    tag, _, weight = part.strip().partition(";q=")
    try:
        rank = float(weight or 1)
    except ValueError:
        return None
    return (rank, tag.partition("-")[0].lower()) if rank > 0 else None


def _translations(code: str) -> Translations:
    """A catalogue from its source: nothing has to be built before."""
    source = files("streams.texts") / "catalogues" / code / "page.po"
    compiled = BytesIO()
    write_mo(compiled, read_po(BytesIO(source.read_bytes()), locale=code))
    compiled.seek(0)
    return Translations(compiled)


def _filled(text: str, values: Mapping[str, Any]) -> str:
    if any(isinstance(value, Markup) for value in values.values()):
        return Markup(escape(text)) % values  # noqa: S704 -- the text is escaped, and so is every value
    return text % values if values else text


_LAST_MS: Final = 253_402_128_000_000
"""The last day but one of the year 9999."""


@lru_cache(1_024)
def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # no name of a zone; none that this machine has
        return UTC


def _utc(at: int) -> datetime:
    # Records are claims of strangers: what no calendar has is shown as its nearest day, in whatever zone.
    return datetime.fromtimestamp(min(max(at, 0), _LAST_MS) / 1000, UTC)


@lru_cache(32_768)  # a chart says more than a thousand, and most of them again
def _number(code: str, number: int) -> str:
    return str(format_decimal(number, locale=_LOCALES[code]))


@lru_cache(4_096)
def _short_day(code: str, day: int) -> str:
    return format_date(day_of(day), _SHORT_DAY[code], locale=_LOCALES[code])
