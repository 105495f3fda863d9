from __future__ import annotations

import logging
import re
from html.parser import HTMLParser

import pytest
from jinja2 import DictLoader, Environment, StrictUndefined

from streams.domain.outputs.notification import NotificationKind
from streams.notices.model import OPERATORS, DestinationKind, Form, Message
from streams.notify.channels.mail_text import MailText, MailWriter
from tests.support.notice_receivers import NOW, TestLinks, confirmation, destination_at, digest, single, trial
from tests.support.occasions import occasion

LANGUAGES = ("en", "es", "de")
VOID = {"meta", "br"}


class _Checker(HTMLParser):
    """Reads a page: every element that opens has to close, and what is between has to be a text of ours."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.links: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        assert not any(name.startswith("on") for name, _ in attributes)
        self.links += [value or "" for name, value in attributes if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _written(message: Message, **changes: object) -> MailText:
    writer = MailWriter(TestLinks())
    text = writer.write(destination_at("a@contoso.example", DestinationKind.MAIL, **changes), message)
    assert writer.template_failures == 0
    assert text.html is not None
    checked = _Checker(text.html)
    assert all(link.startswith("https://") for link in checked.links)
    return text


def _single(kind: NotificationKind, **changes: object) -> Message:
    return Message("m-1", Form.SINGLE, NOW, (occasion(kind, **changes),), 1)


def _environment(templates: dict[str, str]) -> Environment:
    return Environment(loader=DictLoader(templates), undefined=StrictUndefined, autoescape=True)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", NotificationKind)
def test_every_kind_of_notice_is_written_in_every_language(kind: NotificationKind, language: str) -> None:
    text = _written(_single(kind), language=language, zone="Europe/Madrid")
    assert text.html is not None
    for shown in (text.plain, text.html):
        assert "%(" not in shown
        assert "None" not in shown
        assert "UTC" in shown
        assert "https://report.example/" in shown
    assert text.subject in text.plain
    assert "\n\n\n" not in text.plain


def test_a_mail_says_what_why_what_to_install_when_and_where() -> None:
    message = _single(NotificationKind.STAGE_ENTERED)
    plain = _written(message, zone="Europe/Madrid").plain
    assert "Enforcement of mx1.contoso.com has become stricter" in plain
    assert "Its build is 15.1.2507.39; 15.1.2507.61 or newer is accepted." in plain
    assert "What to install: Exchange Server 2016 CU23 Oct24SU, KB5044062" in plain
    assert "Next stage: 5 Dec 2026, 01:53 GMT+01:00 (00:53 UTC)" in plain
    assert "CVE-2024-49030" in plain
    assert "6 more" in plain
    assert "Show in the report: https://report.example/servers/mx1.contoso.com" in plain
    assert "Read more: https://aka.ms/BlockUnsafeExchange" in plain
    assert "https://report.example/unsubscribe?token=" in plain


def test_where_no_update_helps_a_mail_says_why_and_what_to_do() -> None:
    changes = {"finding": "UNSUPPORTED", "build": "15.0.1497.32", "required_build": None, "remedy": None}
    plain = _written(_single(NotificationKind.STAGE_ENTERED, **changes)).plain
    assert "Why: 15.0.1497.32 is no longer accepted, with whatever update." in plain
    assert "What to do: No update makes this product acceptable: move its mailboxes to a supported one." in plain
    resolved = _written(_single(NotificationKind.SERVER_VANISHED, **changes)).plain
    assert "What to do" not in resolved


def test_the_header_line_is_the_reason_where_a_record_has_it() -> None:
    record = occasion(NotificationKind.STAGE_ENTERED)
    record["evidence"] = {"received": "from ex by mx\r\n\tid 15.1.2507.39 \u202e <b>"}
    text = _written(Message("m-1", Form.SINGLE, NOW, (record,), 1))
    assert "Evidence: from ex by mx id 15.1.2507.39 \\u202e <b>" in text.plain
    assert "&lt;b&gt;" in (text.html or "")
    assert re.search(r"<b [^>]*>15\.1\.2507\.39</b>", text.html or "")


def test_of_a_long_header_line_what_is_around_the_build_is_shown() -> None:
    record = occasion(NotificationKind.STAGE_ENTERED)
    record["evidence"] = {"received": "from " + "x" * 100_000 + " id 15.1.2507.39; " + "y" * 100_000}
    for notice in (record, record | {"build": None}):
        text = _written(Message("m-1", Form.SINGLE, NOW, (notice,), 1))
        assert "x" * 200 in text.plain
        assert "x" * 700 not in text.plain
    record["evidence"] = {"received": "from " + "x" * 900 + " id 15.1.2507.39; " + "y" * 900}
    text = _written(Message("m-1", Form.SINGLE, NOW, (record,), 1))
    assert "x id 15.1.2507.39; y" in text.plain
    assert "x" * 700 not in text.plain


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_digest_shows_its_notices_and_how_many_more_there_are(language: str) -> None:
    text = _written(digest(150)._replace(omitted=7), language=language)
    assert text.subject.startswith("157 ")
    assert text.plain.count("\n* ") == 100
    assert "57 " in text.plain.partition("mx99.contoso.com")[2]
    assert "https://report.example/notices" in text.plain


def test_operators_are_told_of_which_tenant() -> None:
    destination = destination_at("a@contoso.example", DestinationKind.MAIL)._replace(tenant_id=OPERATORS)
    writer = MailWriter(TestLinks())
    assert writer.write(destination, single()).subject.startswith("contoso: ")
    assert "\n* contoso: " in writer.write(destination, digest(2)).plain
    assert "all tenants" in writer.write(destination, confirmation()).plain


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_test_and_a_question_are_written_in_every_language(language: str) -> None:
    assert "https://report.example/notices" in _written(trial(), language=language).plain
    asked = _written(confirmation("t0ken"), language=language)
    assert "https://report.example/confirm?token=t0ken" in asked.plain
    assert "unsubscribe" not in asked.plain


@pytest.mark.parametrize("field", ["server", "title", "text", "build", "required_build", "link", "tenant_id"])
@pytest.mark.parametrize(
    "hostile", ["<img src=x onerror=alert(1)>", "\"'><script>", "\u202e\u2066", "\r\nBcc: x", "x" * 100_000]
)
def test_no_field_becomes_markup_or_grows_without_bound(field: str, hostile: str) -> None:
    for kind in (NotificationKind.STAGE_ENTERED, "UNKNOWN"):
        changes = {field: hostile} if field != "tenant_id" else {}
        text = _written(_single(kind, **changes), name=hostile)  # type: ignore[arg-type]
        assert "\u202e" not in text.plain
        assert len(text.html or "") + len(text.plain) < 60_000


def test_a_link_that_is_none_of_the_web_is_not_made_one() -> None:
    assert "javascript:" not in (
        _written(_single(NotificationKind.STAGE_ENTERED, link="javascript:alert(1)")).html or ""
    )


@pytest.mark.parametrize(
    "source", ["{{ card.no_such_field }}", "{{ 1 / 0 }}", "{{ card.language.say('%(x)s', y=1) }}", "{{ missing }}"]
)
def test_a_template_that_fails_costs_the_layout_and_is_counted(source: str, caplog: pytest.LogCaptureFixture) -> None:
    writer = MailWriter(TestLinks(), _environment({"message.html": source, "message.txt": "x"}))
    destination = destination_at("a@contoso.example", DestinationKind.MAIL, language="de")
    with caplog.at_level(logging.ERROR):
        text = writer.write(destination, single(text="first\nsecond\u202e", title="Mail\r\nis delayed"))
    assert text.html is None
    assert text.subject == "Mail\\r\\nis delayed"
    assert "first\nsecond\\u202e" in text.plain
    assert "https://report.example/notices" in text.plain
    assert writer.template_failures == 1
    assert [getattr(record, "event", None) for record in caplog.records] == ["notify_template_failed"]


def test_without_a_template_a_digest_and_a_question_still_say_what_they_are() -> None:
    writer = MailWriter(TestLinks(), _environment({}))
    destination = destination_at("a@contoso.example", DestinationKind.MAIL)
    text = writer.write(destination, digest(150)._replace(omitted=50))
    assert text.subject == "200 notices about mail servers"
    assert "100 more" in text.plain
    assert "https://report.example/confirm?token=t0ken" in writer.write(destination, confirmation("t0ken")).plain


@pytest.mark.parametrize("moment", [-(2**63), 2**63 - 1])
def test_a_moment_that_no_calendar_has_costs_no_notice(moment: int) -> None:
    message = single(detected_at=moment, next_stage_at=moment, paused_until=moment)
    for zone in ("UTC", "Pacific/Kiritimati", "America/Adak"):
        destination = destination_at("admin@contoso.example", DestinationKind.MAIL, zone=zone)
        assert MailWriter(TestLinks()).write(destination, message).html is not None
