"""Policies as files, as records and as YAML for people say the same; what must not be published is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from streams.cli.main import main
from streams.domain.policy.content import PolicyError
from streams.domain.policy.policy import Policy
from streams.domain.policy.publication import conflict, same_moment
from streams.domain.policy.rulebook import Rulebook
from streams.kafka.cluster import Cluster
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import parse_policy, read_policy, shipped_policies
from streams.policies.reader import PublishedReader
from streams.policies.topic import PolicyTopic
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.policy import policy_of, policy_record, policy_yaml
from streams.wire.registry import LocalRegistry
from streams.worker.wiring import rulebook_of

BAD = """\
policy_id: "bad id"
version: 0
mode: soft
ladder:
  - {from_day: 0, throttle_minutes_per_hour: 0, block_minutes_per_hour: 0}
  - {from_day: 30, throttle_minutes_per_hour: 70, block_minutes_per_hour: 0}
  - {from_day: 20, throttle_minutes_per_hour: 5, block_minutes_per_hour: 0}
products:
  Exchange Server 2016: {accept: floor, floors: ["15.1.9999.1"]}
stages: 3
"""


@pytest.mark.parametrize("name", shipped_policies())
def test_a_policy_survives_the_wire_and_yaml(name: str) -> None:
    policy = read_policy(name)
    published = replace(policy, published_at=policy.effective_at - timedelta(days=3))
    codec = AvroCodec("policy", LocalRegistry())
    record = codec.decode(codec.encode(policy_record(published, "operator", "text")))
    assert policy_of(record, shipped_catalogue()) == published
    assert parse_policy(policy_yaml(policy), name, shipped_catalogue()) == policy


def test_a_record_is_checked_like_a_file() -> None:
    record = policy_record(read_policy("strict-critical"))
    record["ladder"][1]["throttle_minutes_per_hour"] = 61
    with pytest.raises(PolicyError, match=r"ladder\[1\].throttle_minutes_per_hour: '61': must be 0 to 60"):
        policy_of(record, shipped_catalogue())


def test_policy_check_names_every_error_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    assert main(["policy", "check", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.removeprefix(f"{file}:").split(":")[0:2] for line in lines] == [
        ["10", " stages"],
        ["1", " effective_at"],
        ["1", " policy_id"],
        ["2", " version"],
        ["9", " products.Exchange Server 2016.floors[0]"],
        ["9", " products.Exchange 2000 Server"],
        ["9", " products.Exchange Server 2003"],
        ["9", " products.Exchange Server 2007"],
        ["9", " products.Exchange Server 2010"],
        ["9", " products.Exchange Server 2013"],
        ["9", " products.Exchange Server 2019"],
        ["9", " products.Exchange Server SE"],
        ["3", " mode"],
        ["6", " ladder[1].throttle_minutes_per_hour"],
        ["6", " ladder[1]"],
        ["7", " ladder[2].from_day"],
        ["7", " ladder[2]"],
    ]


def test_a_policy_that_leaves_a_product_out_is_refused_on_the_wire_and_in_yaml() -> None:
    text = policy_yaml(read_policy("microsoft-2026-09"))
    left_out = "  Exchange Server SE:\n    accept: all\n"
    assert left_out in text
    with pytest.raises(PolicyError) as refused:
        parse_policy(text.replace(left_out, ""), "p.yaml", shipped_catalogue())
    line = 2 + text[: text.index("products:")].count("\n")
    rule = "is missing; every known product needs accept: none, all or floor"
    assert refused.value.errors == [f"p.yaml:{line}: products.Exchange Server SE: '': {rule}"]
    record = policy_record(read_policy("strict-critical"))
    del record["products"]["Exchange Server SE"], record["products"]["Exchange 2000 Server"]
    with pytest.raises(PolicyError) as refused:
        policy_of(record, shipped_catalogue())
    assert [error.split(": ")[1] for error in refused.value.errors] == [
        "products.Exchange 2000 Server",
        "products.Exchange Server SE",
    ]


def test_a_record_that_leaves_a_product_out_leaves_the_other_versions_in_force(
    caplog: pytest.LogCaptureFixture,
) -> None:
    codec, sound = AvroCodec("policy", LocalRegistry()), read_policy("microsoft-2026-09")
    records = [policy_record(later(sound, 10 * version, version)) for version in (1, 2, 3)]
    del records[1]["products"]["Exchange Server SE"]
    topic = PolicyTopic(
        Cluster("unused:9092"), "policies", codec, "catalogues", codec, "audit", codec, shipped_catalogue()
    )
    reader = PublishedReader(topic)
    rows = [SimpleNamespace(offset=offset, value=codec.encode(record)) for offset, record in enumerate(records)]
    assert reader.take([], rows)
    assert [policy.version for policy in reader.published.policies] == [1, 3]
    (refusal,) = [row.getMessage() for row in caplog.records if row.levelname == "ERROR"]
    assert "rejected policy at offset 1 of policies: " in refusal
    assert "products.Exchange Server SE: '': is missing" in refusal


def test_policies_that_cannot_stand_together_are_named() -> None:
    one, catalogue = read_policy("microsoft-2026-09"), shipped_catalogue()
    with pytest.raises(ValueError, match="microsoft-2026-09 version 1 and other version 1 both take effect"):
        Rulebook((one, replace(one, policy_id="other")), catalogue)
    with pytest.raises(ValueError, match="version: 1: two policies are microsoft-2026-09 version 1"):
        Rulebook((one, later(one, 5, 1)), catalogue)


def test_a_stage_that_is_none_hides_no_error_of_the_others() -> None:
    text = BAD.replace("throttle_minutes_per_hour: 0, block_minutes_per_hour: 0}", "throttle_minutes_per_hour: 1.5}", 1)
    with pytest.raises(PolicyError) as refused:
        parse_policy(text, "bad", shipped_catalogue())
    said = "\n".join(refused.value.errors)
    assert "ladder[0].throttle_minutes_per_hour: '1.5': must be a whole number" in said
    assert "ladder[0].block_minutes_per_hour: 'None': must be a whole number" in said
    assert "ladder[1].throttle_minutes_per_hour: '70': must be 0 to 60" in said
    assert "ladder[2].from_day: '20': must be above 30" in said


def later(policy: Policy, days: int, version: int) -> Policy:
    return replace(policy, effective_at=policy.effective_at + timedelta(days=days), version=version)


def test_a_version_that_is_not_new_and_a_moment_that_is_taken_are_refused() -> None:
    known = [later(read_policy("microsoft-2026-09"), 10, 3)]
    assert conflict(later(known[0], 1, 3), known) == (
        "version: 3: must be above 3, the published version of microsoft-2026-09"
    )
    other = replace(known[0], policy_id="other")
    assert "effective_at: 2026-09-11T00:00:00+00:00: microsoft-2026-09 version 3" in str(conflict(other, known))
    assert same_moment(other, known) == conflict(other, known)
    assert conflict(later(known[0], 1, 4), known) is None


def test_a_single_configured_policy_governs_until_the_first_published_one() -> None:
    settings = Settings(policies=("microsoft-2026-09",))
    early = replace(read_policy("microsoft-2023"), effective_at=read_policy("microsoft-2026-09").effective_at)
    early = later(early, -100, 7)
    rulebook = rulebook_of(settings, [early])
    moment = round(early.effective_at.timestamp() * 1000)
    assert rulebook.policy_at(0).policy_id == "microsoft-2026-09"
    assert rulebook.policy_at(moment - 1).policy_id == "microsoft-2026-09"
    assert rulebook.policy_at(moment + 10**12).policy_id == "microsoft-2023"
