"""Every metric that the report shows."""

from __future__ import annotations

from streams.report.metrics import ReportMetrics
from streams.report.reading.status import State, Status
from tests.support.metrics_page import families_of

NOW = 1_800_000_000_000


def following(current_at: int = NOW - 2_000) -> Status:
    """A reader in order."""
    return Status(
        State.FOLLOWING,
        has_lease=True,
        current_at=current_at,
        lag={"verdict": 3},
        answered_at=NOW,
        database_bytes=4096,
        free_bytes=8192,
    )


def report_families() -> dict[str, tuple[str, set[str]]]:
    """Kind and labels of every metric of the report."""
    page = ReportMetrics("1", following, lambda: NOW).page()
    return {name: row for name, row in families_of(page).items() if name.startswith("tes_report_")}
