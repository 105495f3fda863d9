"""What the settings say about Kafka, as a cluster that makes its clients."""

from __future__ import annotations

from streams.engine.cluster import Cluster
from streams.settings import Settings


def cluster_of(settings: Settings) -> Cluster:
    """The cluster that the settings name."""
    return Cluster(settings.bootstrap)
