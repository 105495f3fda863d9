"""The metrics of the product on a worker's page: names, helps, kinds, labels and buckets, without the numbers."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

from streams.domain.outputs.notification import AdminNotification
from streams.domain.outputs.verdict import Verdict
from streams.domain.tenant.audit import AuditRecord
from streams.engine.status import WorkerStatus
from streams.engine.telemetry import DEAD_LETTERS, PresentState, UnitMetrics, UnitReport
from streams.telemetry.metrics import Metrics
from streams.worker.counters import UnitCounters
from tests.golden.values import full


def metrics() -> str:
    """The page before the worker has done anything, and after it has done one of everything."""
    idle, busy = Metrics("VERSION", 0), Metrics("VERSION", 0)
    _use(busy)
    return "\n".join(
        ["# before the start", *_shown(idle), "", "# with a policy, partitions and one unit of work", *_shown(busy), ""]
    )


def _use(page: Metrics) -> None:
    status = full(WorkerStatus)
    rules = {
        "policy": {"policy_id": "POLICY", "policy_version": "1", "mode": "MODE"},
        "catalogue": {"catalogue_version": "1"},
    }
    page.worker_built(PresentState(lambda: status, lambda: rules, lambda: {"KIND": 1}))
    for item in status.partitions:
        page.timers_counted(item.partition, 1)
    page.unit_committed(UnitReport(0, 1, 0, 0.0, 0.0, _notes()))


def _notes() -> UnitMetrics:
    """Of connections every kind that is counted, of the others one."""
    notes, tally = UnitMetrics(Counter({(DEAD_LETTERS, "TOPIC", "REASON"): 1})), UnitCounters()
    tally.begin(notes)
    for counts in tally.routine:
        counts[:] = [1] * len(counts)
    for kind in (Verdict, AdminNotification, AuditRecord):
        tally.emitted(full(kind))
    tally.finish()
    return notes


def _shown(page: Metrics) -> Iterator[str]:
    for family in text_string_to_metric_families(page.page().decode()):
        if not family.name.startswith("tes_"):
            continue  # of the process and of Python: named by the library
        yield f"{family.name} {family.type}: {family.documentation}"
        for name, labels, *_ in family.samples:
            known = {label: "PYTHON" if text == platform.python_version() else text for label, text in labels.items()}
            yield f"  {name}{{{', '.join(f'{label}={text}' for label, text in known.items())}}}"
