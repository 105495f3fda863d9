"""What a hostile or careless policy must not do: each case was a crash, a bomb, or a silent other meaning."""

from __future__ import annotations

import pytest

from streams.domain.policy.content import MAX_ERRORS, PolicyError
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import parse_policy, read_policy
from streams.policies.strict_yaml import MAX_TEXT_CHARS
from streams.wire.policy import policy_of, policy_record, policy_yaml

SOUND = policy_yaml(read_policy("microsoft-2026-09"))


def refused(text: str) -> list[str]:
    """The reasons why a text is refused."""
    with pytest.raises(PolicyError) as error:
        parse_policy(text, "p.yaml", shipped_catalogue())
    return error.value.errors


def test_a_sound_policy_is_the_ground_of_these_tests() -> None:
    assert parse_policy(SOUND, "p.yaml", shipped_catalogue()) == read_policy("microsoft-2026-09")


@pytest.mark.parametrize(
    ("added", "names"),
    [
        ("\n".join(["a0: &a0 x", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]), "'a0': anchors and"),
        ("description: &a [*a]", "'a': anchors and aliases are not allowed"),
        ("<<: {mode: report}", "'<<': merge keys are not allowed"),
        ("description: !!bool x", "'tag:yaml.org,2002:bool': tags are not allowed"),
        ("description: !!int ''", "tags are not allowed"),
        ("description: !!timestamp x", "tags are not allowed"),
        ("version: 2", "'version': occurs twice"),
        ("? [a, b]\n: c", "a key must be text, not a list or mapping"),
        ("k" * 65 + ": 1", "a key has at most 64 characters"),
        ("description: 0x" + "f" * 5000, "longer than 64 characters"),
        ("description: " + "1:" * 300 + "1.5", "longer than 64 characters"),
        ("description: 2026-02-30", "'2026-02-30': day is out of range for month"),
        ("description: " + "[" * 13 + "]" * 13, "nested deeper than 12 levels"),
    ],
)
def test_yaml_beyond_what_a_policy_needs_is_refused_with_its_line(added: str, names: str) -> None:
    (reason,) = refused(f"{SOUND}{added}\n")
    assert names in reason
    assert f"line {SOUND.count(chr(10)) + 1}" in reason or "\n" in added


def test_a_text_longer_than_any_policy_is_refused_unread() -> None:
    assert refused(SOUND + "#" * MAX_TEXT_CHARS) == [
        f"p.yaml: not YAML: {len(SOUND) + MAX_TEXT_CHARS} characters, more than {MAX_TEXT_CHARS}"
    ]


def test_a_policy_wrong_in_very_many_places_names_the_first_hundred() -> None:
    floors = ",".join(["x"] * 10_000)
    text = "products: {" + "k" * 64 + ": {accept: floor, floors: [" + floors + "]}}"
    assert len(refused(text)) == MAX_ERRORS


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0001-01-01", "1999-12-31T23:59:59Z", "2100-01-01"])
def test_a_moment_that_no_clock_shows_is_refused_with_its_value(moment: str) -> None:
    begin, _, end = SOUND.partition("effective_at: ")
    (reason,) = refused(f"{begin}effective_at: {moment}\n{end.partition(chr(10))[2]}")
    assert reason.endswith("must be a timestamp from 2000 to 2099, like 2026-09-01T00:00:00Z")
    assert reason.startswith("p.yaml:3: effective_at: ")


def test_a_moment_is_kept_in_milliseconds_like_its_record() -> None:
    begin, _, end = SOUND.partition("effective_at: ")
    text = f"{begin}effective_at: 2026-09-01T00:00:00.0019Z\n{end.partition(chr(10))[2]}"
    policy = parse_policy(text, "p.yaml", shipped_catalogue())
    assert policy.effective_at.microsecond == 1000
    assert policy_of(policy_record(policy), shipped_catalogue()) == policy


@pytest.mark.parametrize("added", ["  2016: {accept: none}", "  '2019': {accept: all}"])
def test_a_product_named_twice_in_two_ways_is_refused(added: str) -> None:
    (reason,) = refused(SOUND.replace("products:\n", f"products:\n{added}\n"))
    assert reason.endswith("twice")


@pytest.mark.parametrize("field", ["effective_at", "published_at"])
@pytest.mark.parametrize("moment", [2**62, -(2**62), 10**15])
def test_a_record_with_a_moment_beyond_the_calendar_is_refused(field: str, moment: int) -> None:
    record = policy_record(read_policy("strict-critical")) | {field: moment}
    with pytest.raises(PolicyError, match=field):
        policy_of(record, shipped_catalogue())


def test_a_record_with_a_long_name_and_many_floors_has_few_and_short_errors() -> None:
    record = policy_record(read_policy("strict-critical"))
    record["products"] = {"." * 100_000: {"accept": "floor", "floors": ["x"] * 10_000}}
    with pytest.raises(PolicyError) as error:
        policy_of(record, shipped_catalogue())
    assert len(error.value.errors) == MAX_ERRORS
    assert max(map(len, error.value.errors)) < 1000
