"""Languages: which one a reader gets, and that the catalogues miss nothing and lose no value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markupsafe import Markup

from streams.texts.languages import NAMES, choose_language, language_of
from streams.texts.translating import CATALOGUES, read_catalogue, texts
from tests.support.report import START

PLACEHOLDER = re.compile(r"%\((\w+)\)s|%")


@pytest.mark.parametrize(
    ("asked", "remembered", "accepted", "expected"),
    [
        ("es", "de", "en", "es"),
        (None, "de", "es", "de"),
        ("xx", None, "de-AT,de;q=0.9,en;q=0.8", "de"),
        (None, None, "en;q=0.1, es-MX;q=0.7", "es"),
        (None, None, "fr, de;q=0", "en"),
        (None, None, "de;q=x,;;,es;q=0.5", "es"),
        (None, "../../etc", "", "en"),
    ],
)
def test_a_reader_gets_the_language_asked_for(
    asked: str | None, remembered: str | None, accepted: str, expected: str
) -> None:
    assert choose_language(asked, remembered, accepted) == expected


def test_every_language_but_english_has_a_catalogue() -> None:
    assert {path.parent.name for path in CATALOGUES} == set(NAMES) - {"en"}


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parent.name)
def test_every_text_is_translated_and_keeps_its_values(path: Path) -> None:
    catalogue, found = read_catalogue(path), list(texts())
    assert len(found) > 200
    for text, source in found:
        message = catalogue.get(text)
        assert message is not None, (source, text)
        asked = (text,) if isinstance(text, str) else text
        said = (message.string,) if isinstance(message.string, str) else tuple(message.string or ())
        assert all(said), (source, text)
        assert len(said) == len(asked)
        for one, other in zip(asked, said, strict=True):
            assert set(PLACEHOLDER.findall(one)) == set(PLACEHOLDER.findall(other)), (source, text)


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.parent.name)
def test_no_catalogue_has_a_text_that_nobody_says(path: Path) -> None:
    known = {text for text, _ in texts()}
    translated = [message.id for message in read_catalogue(path) if message.id]
    assert [one for one in translated if (one if isinstance(one, str) else tuple(one)) not in known] == []


@pytest.mark.parametrize(
    ("code", "moment", "date", "number"),
    [
        ("en", "4 Sept 2026, 00:00 UTC", "4 September 2026", "12,345"),
        ("es", "4 sept 2026, 00:00 UTC", "4 de septiembre de 2026", "12.345"),
        ("de", "4. Sept. 2026, 00:00 UTC", "4. September 2026", "12.345"),
    ],
)
def test_dates_and_numbers_are_those_of_the_language(code: str, moment: str, date: str, number: str) -> None:
    language = language_of(code)
    assert (language.moment(START), language.long_date(START), language.number(12_345)) == (moment, date, number)


def test_a_value_that_is_markup_escapes_all_others() -> None:
    said = language_of("en").say("%(what)s from %(date)s", what="<b>", date=Markup("<time>4 Sep</time>"))
    assert said == Markup("&lt;b&gt; from <time>4 Sep</time>")
    assert not isinstance(language_of("en").say("%(build)s is accepted.", build="<b>"), Markup)


def test_a_moment_is_told_in_the_readers_zone_and_in_utc() -> None:
    at = 1_796_860_500_000  # 2026-12-09T23:55:00Z
    assert language_of("en").local_moment(at, "UTC") == "9 Dec 2026, 23:55 UTC"
    assert language_of("en").local_moment(at, "Europe/Madrid") == "10 Dec 2026, 00:55 GMT+01:00 (9 Dec 2026, 23:55 UTC)"
    assert language_of("de").local_moment(at, "America/New_York") == "9. Dez. 2026, 18:55 GMT-05:00 (23:55 UTC)"
    assert language_of("es").local_moment(at, "Europe/London") == language_of("es").moment(at)


@pytest.mark.parametrize("zone", ["", "Mars/Base", "../../etc/passwd", "/etc/localtime", "Europe", "\0", "x" * 5_000])
def test_a_zone_that_is_none_is_utc(zone: str) -> None:
    assert language_of("en").local_moment(START, zone) == language_of("en").moment(START)
