"""Which channels the settings set up, and what they are made of."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streams.database.database import Database
from streams.notices.destinations import ensure_contact
from streams.notices.model import OPERATORS, DestinationKind, Form, Message
from streams.notices.tokens import make_bounce_token
from streams.notify.channels.links import ReportLinks
from streams.notify.channels.signing import make_private_key
from streams.notify.channels_in_use import CHATS, ChannelsInUse
from streams.settings.base import SettingsError
from streams.settings.notify import NotifySettings
from tests.support.notice_receivers import destination_at
from tests.support.notices import START, add_destination

PUBLIC = "https://tes.contoso.com"


def relay_settings(**changes: Any) -> NotifySettings:
    return NotifySettings(public_url=PUBLIC, smtp_host="127.0.0.1", mail_from="tes@contoso.com", **changes)


def test_a_kind_is_reached_where_all_that_it_needs_is_set() -> None:
    webhook = {DestinationKind.WEBHOOK}
    assert ChannelsInUse(NotifySettings()).kinds == webhook
    # A question without a link could not be answered.
    assert ChannelsInUse(NotifySettings(public_url=PUBLIC)).kinds == webhook | {*CHATS, DestinationKind.APPRISE}
    channels = ChannelsInUse(relay_settings())
    assert channels.kinds == set(DestinationKind)

    async def open_and_close() -> None:
        async with channels.opened(b"key") as opened:
            assert opened.keys() == channels.kinds

    asyncio.run(open_and_close())
    assert channels.template_failures == 0


@pytest.mark.parametrize(
    ("field", "variable", "content", "rule"),
    [
        ("smtp_password_file", "TES_NOTIFY_SMTP_PASSWORD_FILE", "", "must hold one line"),
        ("smtp_password_file", "TES_NOTIFY_SMTP_PASSWORD_FILE", None, "must be readable"),
        ("smtp_ca_file", "TES_NOTIFY_SMTP_CA_FILE", "none", "at least one certificate"),
        ("signing_key_file", "TES_NOTIFY_SIGNING_KEY_FILE", "whsec_AAAA", "must hold an Ed25519 key: must begin with"),
        ("signing_key_file", "TES_NOTIFY_SIGNING_KEY_FILE", "whsk_AAAA", "must hold an Ed25519 key: a private key"),
    ],
)
def test_a_file_that_does_not_hold_what_it_should_is_refused_at_the_start(
    tmp_path: Path, field: str, variable: str, content: str | None, rule: str
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_text(content)
    changes = {field: str(file)} | ({"smtp_user": "tes"} if field == "smtp_password_file" else {})
    with pytest.raises(SettingsError, match=f"^{variable}: .*{rule}"):
        ChannelsInUse(relay_settings(**changes))


def test_a_key_from_a_file_signs(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(make_private_key() + "\n")
    ChannelsInUse(NotifySettings(signing_key_file=str(tmp_path / "key")))


def test_a_bounce_names_its_destination_and_nobody_else_can_make_its_address(database: Database) -> None:
    made = add_destination(database)
    with database.writing() as connection:
        contact = ensure_contact(connection, "contoso", "contact@contoso.example", START)
    for one in (made, contact):
        token = make_bounce_token(b"key", one)
        assert token.startswith(one.destination_id.replace("-", ""))
        assert len(token) <= 50
        assert token == token.lower()
        assert token.isalnum()
        assert make_bounce_token(b"other", one) != token


def test_links_lead_to_the_report_and_nowhere_without_it() -> None:
    message = Message("m", Form.SINGLE, START, (), 1, "t0ken")
    of_tenant, of_operators = destination_at("a@b.example"), destination_at("a@b.example")._replace(tenant_id=OPERATORS)
    links, none = ReportLinks(PUBLIC + "/"), ReportLinks("")
    assert links.page(of_tenant, "mx 1/a") == f"{PUBLIC}/servers/mx%201%2Fa"
    assert links.page(of_operators, "mx1") == f"{PUBLIC}/notices"
    assert links.confirm(of_tenant, message) == f"{PUBLIC}/notices/confirm?token=t0ken"
    assert links.unsubscribe(of_tenant, message) == f"{PUBLIC}/notices/unsubscribe?token=t0ken"
    assert links.unsubscribe(of_tenant, message._replace(token="")) == ""
    assert {none.page(of_tenant), none.confirm(of_tenant, message), none.unsubscribe(of_tenant, message)} == {""}
