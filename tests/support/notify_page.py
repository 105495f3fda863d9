"""Every metric that the process which tells people shows."""

from __future__ import annotations

from streams.notify.metrics import NotifyMetrics
from streams.notify.status import Status
from tests.support.metrics_page import families_of


def notify_families() -> dict[str, tuple[str, set[str]]]:
    """Kind and labels of every metric of `tes notify`."""
    page = NotifyMetrics("1", Status(), lambda: 0, lambda: 0).page()
    return {name: row for name, row in families_of(page).items() if name.startswith("tes_notify_")}
