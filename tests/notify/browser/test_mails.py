"""Mails as a browser shows them: wide and narrow, light and dark."""

from __future__ import annotations

from typing import Literal

import pytest
from playwright.sync_api import Browser

from streams.domain.outputs.notification import NotificationKind
from streams.notices.model import DestinationKind, Form, Message
from streams.notify.channels.mail_text import MailWriter
from tests.support.notice_receivers import NOW, TestLinks, destination_at
from tests.support.occasions import occasion

LONG = "<b>x</b>" + "x" * 200
MESSAGES = {
    "notice": Message("m-1", Form.SINGLE, NOW, (occasion(NotificationKind.STAGE_ENTERED),), 1),
    "digest": Message("m-2", Form.DIGEST, NOW, tuple(map(occasion, NotificationKind)), 1),
    "long name": Message("m-3", Form.SINGLE, NOW, (occasion(NotificationKind.STAGE_ENTERED, server=LONG),), 1),
}
_LEAST_CONTRAST = """() => {
  const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).map(Number).map(v => (v /= 255) <= 0.04045 ? v / 12.92
    : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'rgb(255, 255, 255)'; };
  let least = 21;
  for (const e of document.body.querySelectorAll('*')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim().replace('\u00a0', ''))) continue;
    if (!e.offsetParent) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    least = Math.min(least, (a + 0.05) / (b + 0.05));
  }
  return least;
}"""
"""The least contrast of any text that is shown, as WCAG 2 counts it."""


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
@pytest.mark.parametrize("width", [320, 700])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_mail_fits_and_can_be_read(
    browser: Browser, message: Message, width: int, scheme: Literal["light", "dark"]
) -> None:
    html = MailWriter(TestLinks()).write(destination_at("a@contoso.example", DestinationKind.MAIL), message).html
    assert html is not None
    context = browser.new_context(viewport={"width": width, "height": 600}, color_scheme=scheme)
    asked = []
    try:
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.set_content(html)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(_LEAST_CONTRAST) >= 4.5
        assert page.locator("b b, h1 b").count() == 0
        assert asked == []
    finally:
        context.close()
