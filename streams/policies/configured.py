"""The policies that the settings name, and where others are published."""

from __future__ import annotations

from streams.domain.policy.policy import Policy
from streams.kafka.security import cluster_of
from streams.kafka.topics import TOPICS
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.policies.topic import PolicyTopic
from streams.settings.report import ReportSettings
from streams.settings.worker import Settings
from streams.wire.codec import AvroCodec
from streams.wire.registry import registry_of


def configured_policies(settings: Settings | ReportSettings) -> list[Policy]:
    """The policies that the settings name.

    Raises:
        ValueError: one is malformed.
    """
    return [read_policy(name) for name in settings.policies]


def policy_topic_of(settings: Settings | ReportSettings) -> PolicyTopic:
    """Where policies and catalogues are published."""
    registry = registry_of(settings)
    return PolicyTopic(
        cluster=cluster_of(settings),
        policies_topic=settings.topic(TOPICS["policy"]),
        policies=AvroCodec("policy", registry),
        catalogues_topic=settings.topic(TOPICS["catalogue"]),
        catalogues=AvroCodec("catalogue", registry),
        audit_topic=settings.topic(TOPICS["audit_record"]),
        audit=AvroCodec("audit_record", registry),
        catalogue=shipped_catalogue(),
    )
