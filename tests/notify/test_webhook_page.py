"""A receiver that does what the page says takes what is genuine, and nothing else."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from streams.clock import wall_clock_ms
from streams.domain.time import DAY_MS, MINUTE_MS
from streams.notices.model import Destination, DestinationKind, DestinationState, Origin
from streams.notices.webhook_secrets import make_secret
from streams.notify.channels.signing import sign_message
from tests.support.metrics_page import REPOSITORY

PAGE = (REPOSITORY / "docs/how-to/notify.md").read_text(encoding="utf-8")
BODY = '{"type": "tes.test.v1", "data": {"link": "https://tes.example.com/é"}}'.encode()


def shown(name: str) -> Any:
    """The function of the page that has this name."""
    blocks = re.findall(r"(?:^(?: {4}.*)?\n)+", PAGE, re.MULTILINE)
    (block,) = [block for block in blocks if f"def {name}(" in block]
    namespace: dict[str, Any] = {}
    exec(textwrap.dedent(block), namespace)
    return namespace[name]


def by_hand(secret: str, headers: dict[str, str], body: bytes) -> bool:
    return bool(shown("is_genuine")(secret, headers, body))


def by_the_library(secret: str, headers: dict[str, str], body: bytes) -> bool:
    try:
        shown("verified")(secret, headers, body)
    except WebhookVerificationError:
        return False
    return True


def webhook(secret: str, former: str = "") -> Destination:
    return Destination(
        "contoso",
        "d1",
        DestinationKind.WEBHOOK,
        "Ops",
        "https://ops.example.com/",
        Origin.TENANT,
        DestinationState.ACTIVE,
        secret=secret,
        former_secret=former,
        former_secret_until=wall_clock_ms() + DAY_MS if former else None,
    )


@pytest.mark.parametrize("check", [by_hand, by_the_library])
def test_a_receiver_by_the_page_takes_what_is_genuine_and_nothing_else(check: Any) -> None:
    secret, other = make_secret(), make_secret()
    headers = sign_message(webhook(secret), "m1", wall_clock_ms(), BODY)
    assert check(secret, headers, BODY)
    assert not check(other, headers, BODY)
    assert not check(secret, headers, BODY + b" ")
    assert not check(secret, {**headers, "webhook-id": "m2"}, BODY)
    old = sign_message(webhook(secret), "m1", wall_clock_ms() - 6 * MINUTE_MS, BODY)
    assert not check(secret, old, BODY)


@pytest.mark.parametrize("check", [by_hand, by_the_library])
def test_a_receiver_with_either_secret_takes_it_while_one_is_rotated(check: Any) -> None:
    new, former = make_secret(), make_secret()
    headers = sign_message(webhook(new, former), "m1", wall_clock_ms(), BODY)
    assert check(new, headers, BODY)
    assert check(former, headers, BODY)


def test_the_page_names_the_library_that_signs() -> None:
    assert Webhook.__module__.startswith("standardwebhooks")
    assert "from standardwebhooks import Webhook" in PAGE
