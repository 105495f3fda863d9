"""Settings that go into replies, and addresses that are shown: what they may hold."""

from __future__ import annotations

import pytest

from streams.domain.outputs.replies import MAX_LINK_CHARS, MAX_NAME_CHARS, MAX_REPLY_BYTES, fill_reply, reply_template
from streams.domain.policy.ladder import Action
from streams.domain.policy.rulebook import Service
from streams.domain.time import LATEST_MS
from streams.settings.worker import SettingsError, read_settings

SECRET = "s3cret"


@pytest.mark.parametrize("variable", ["TES_SERVICE_NAME", "TES_SERVICE_LINK"])
@pytest.mark.parametrize(
    "text", ["", " ", "a\nb", "a\x1b", "Zoë", "a{minutes}", "x" * 300, "\u202e", "https://a b", "a\r"]
)
def test_a_text_that_does_not_fit_a_reply_is_refused(variable: str, text: str) -> None:
    if text == "https://a b" and variable == "TES_SERVICE_NAME":
        text = "a}"
    with pytest.raises(SettingsError, match=f"^{variable}: "):
        read_settings({variable: text})


@pytest.mark.parametrize("action", [Action.THROTTLE, Action.BLOCK])
def test_a_reply_with_the_longest_texts_has_the_link_whole_and_room_for_facts(action: Action) -> None:
    link = "https://" + "x" * (MAX_LINK_CHARS - 8)
    settings = read_settings({"TES_SERVICE_NAME": "n" * MAX_NAME_CHARS, "TES_SERVICE_LINK": link})
    service = Service(settings.service_name, settings.service_link)
    reply = fill_reply(reply_template(action, service, "mx1.contoso.com", None, None), 60, LATEST_MS)
    assert len(reply) <= MAX_REPLY_BYTES
    assert reply.endswith(f" {link}")
    assert "mx1.contoso.com runs" in reply


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TES_TRACES_ENDPOINT", f"http://user:{SECRET}@collector:4318/v1/traces"),
        ("TES_TRACES_ENDPOINT", f"http://collector:4318/v1/traces?token={SECRET}"),
        ("TES_TRACES_ENDPOINT", f"http://collector:4318/v1/traces#{SECRET}"),
        ("TES_TRACES_ENDPOINT", f"//{SECRET}@collector"),
        ("TES_SCHEMA_REGISTRY_URL", f"https://{SECRET}@registry"),
        ("TES_SCHEMA_REGISTRY_URL", f"https://registry?key={SECRET}"),
        ("TES_KAFKA_BOOTSTRAP", f"user:{SECRET}@broker:9092"),
        ("TES_KAFKA_BOOTSTRAP", f"broker:9092,kafka://u:{SECRET}@broker:9092"),
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_shown(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable) as refused:
        read_settings({variable: value})
    assert SECRET not in str(refused.value)


def test_every_wrong_setting_is_named_at_once() -> None:
    wrong = {"TES_PARTITIONS": "many", "TES_COLOUR": "red", "TES_LOG_FORMAT": "xml", "TES_SERVICE_NAME": "é"}
    with pytest.raises(SettingsError) as refused:
        read_settings(wrong)
    assert {line.partition(":")[0] for line in refused.value.errors} == set(wrong)


@pytest.mark.parametrize("value", ["broker", "a:9092,b:9093", "[::1]:9092", "127.0.0.1:1"])
def test_addresses_of_brokers_are_taken(value: str) -> None:
    assert read_settings({"TES_KAFKA_BOOTSTRAP": value}).bootstrap == value
