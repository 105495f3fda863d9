"""The policy loader over any text."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from streams.domain.exchange.build import parse_build
from streams.domain.policy.content import MAX_ERRORS, PolicyError
from streams.domain.policy.policy import ConnectorType, Policy
from streams.domain.policy.rulebook import Rulebook, effective_policies
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import parse_policy
from streams.wire.policy import policy_of, policy_record, policy_yaml
from tests.fuzz.targets.service import START, codec, rulebook

BUILDS = [parse_build(text) for text in ("8.3.517.0", "14.3.123.4", "15.0.1497.48", "15.1.2507.39", "15.2.2562.17")]


def check(data: bytes) -> None:
    """A text is refused with bounded reasons, or gives a policy that can be published and judges."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return
    try:
        policy = parse_policy(text, "policy.yaml", shipped_catalogue())
    except PolicyError as error:
        check_errors(error)
    else:
        check_policy(policy)


def check_errors(error: PolicyError) -> None:
    """The reasons are there, are few, and none is long."""
    assert 1 <= len(error.errors) <= MAX_ERRORS
    assert all(len(reason) < 1500 for reason in error.errors)


def check_policy(policy: Policy) -> None:
    """A policy survives record, wire and YAML, and can be put into force."""
    catalogue = shipped_catalogue()
    record = codec("policy").decode(codec("policy").encode(policy_record(policy, "operator", "source")))
    assert policy_of(record, catalogue) == policy
    unpublished = replace(policy, published_at=None)
    assert parse_policy(policy_yaml(policy), "again", catalogue) == unpublished
    later = replace(policy, version=policy.version + 1, effective_at=policy.effective_at + timedelta(days=1))
    Rulebook(effective_policies([policy], [later]), catalogue)
    alone = Rulebook((policy,), rulebook().catalogue)
    for build in BUILDS:
        assert alone.judge(build, START, ConnectorType.ON_PREMISES, "contoso").reason
