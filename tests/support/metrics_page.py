"""A worker in order, and every metric that it shows."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from streams.engine.status import PartitionStatus, Phase, WorkerStatus
from streams.engine.telemetry import PresentState
from streams.settings.worker import Settings
from streams.telemetry.metrics import Metrics
from streams.worker.policies import PoliciesInForce

PARTITION = PartitionStatus(3, Phase.WORKING, 7, 0, {"in": 5}, 1_000)
WORKING = WorkerStatus(
    has_joined=True,
    is_assigned=True,
    is_draining=False,
    failure=None,
    is_broker_reached=True,
    input_partitions=4,
    partitions=(PARTITION,),
)


REPOSITORY = Path(__file__).parents[2]


def families() -> dict[str, tuple[str, set[str]]]:
    """Kind and labels of every metric of the product, as a worker that has done everything shows them."""
    metrics = Metrics("1", 2)
    policies = PoliciesInForce(Settings())
    metrics.worker_built(PresentState(lambda: WORKING, policies.shown, lambda: {"cache": 1}))
    metrics.timers_counted(3, 1)
    for name, counter in metrics._counters.items():
        counter.labels(*(name for _ in counter._labelnames))
    metrics._records.labels("0")
    return families_of(metrics.page())


def families_of(page: bytes) -> dict[str, tuple[str, set[str]]]:
    """Kind and labels of every metric of the product on a page."""
    found = {}
    for family in text_string_to_metric_families(page.decode()):
        if family.name.startswith("tes_"):
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] = (family.type, labels)
    return found
