"""Where policies and catalogues are published, and what is published there."""

from __future__ import annotations

from dataclasses import dataclass

from streams.domain.exchange.catalogue import Catalogue
from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import PublishedCatalogue
from streams.kafka.cluster import Cluster
from streams.wire.codec import AvroCodec


@dataclass(frozen=True, slots=True)
class PolicyTopic:
    """Where policies and catalogues are published, and where that is recorded.

    `catalogue` is the built-in one, which is in force until the first published one begins.
    """

    cluster: Cluster
    policies_topic: str
    policies: AvroCodec
    catalogues_topic: str
    catalogues: AvroCodec
    audit_topic: str
    audit: AvroCodec
    catalogue: Catalogue


@dataclass(frozen=True, slots=True)
class Published:
    """The sound versions of policies and catalogues, each in the order of publication."""

    policies: tuple[Policy, ...] = ()
    catalogues: tuple[PublishedCatalogue, ...] = ()
