"""What `tes top` counts and draws."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from streams.cli.top import picture, shown
from streams.domain.outputs.progress import PartitionProgress
from streams.operations.activity import Activity, PartitionActivity, Rate, ServerCounts, WorkerActivity
from streams.settings.worker import Settings
from streams.visible import visible

SIGN = PartitionProgress(0, 1_790_000_000_000, 1_790_000_000_000, "microsoft-2026-09", 1, "0.2.0", "tes")


def service(partitions: int, workers: int, name: str = "worker") -> Activity:
    shared = range(partitions)
    return Activity(
        1_790_000_000_000, 1_234.5, 99.94, None, partitions * 7,
        tuple(PartitionActivity(one, 7 * (one == 3), 5.0, f"{name}-{one % workers}", SIGN, 5.0) for one in shared),
        tuple(WorkerActivity(f"{name}-{one}", "192.0.2.7", tuple(shared[one::workers])) for one in range(workers)),
        dict.fromkeys(range(9), 12_345), {"BLOCKED": 5}, True,
    )  # fmt: skip


def drawn(found: Activity, width: int, height: int | None) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=False, color_system=None)
    console.print(picture(found, Settings(), width, height))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("height", [24, 50])
@pytest.mark.parametrize(("partitions", "workers"), [(1, 1), (12, 3), (200, 40)])
def test_a_picture_fits_the_terminal(width: int, height: int, partitions: int, workers: int) -> None:
    lines = drawn(service(partitions, workers), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    seen = "\n".join(lines)
    assert "1,234/s in, 99.9/s processed" in seen
    assert "0: 12,345" in seen
    assert "late" not in seen
    if partitions > height:
        cut = sum("microsoft-2026-09/1" in line for line in lines)
        assert f"and {partitions - cut} more" in seen
        assert any(line.split()[:2] == ["3", "7"] for line in lines)


def test_nothing_is_left_out_where_there_is_no_terminal() -> None:
    lines = drawn(service(200, 40), 100, None)
    assert sum("worker-" in line and "microsoft-2026-09/1" in line for line in lines) == 200
    assert sum(line.startswith("worker-") for line in lines) == 40


def test_who_is_silent_is_late_and_who_is_gone_is_none() -> None:
    gone = PartitionActivity(0, 0, None, None, SIGN, 3_600.0)
    never = PartitionActivity(1, 0, None, None, None, None)
    found = Activity(0, None, None, None, 0, (gone, never), (), {}, {}, False)
    seen = "\n".join(drawn(found, 80, 24))
    assert "late: 60 min ago" in seen
    assert "none runs" in seen
    assert "reading the rest" in seen


def test_hostile_names_draw_nothing() -> None:
    lines = drawn(service(2, 1, "\x1b[2J\r\nforged\u202e" + "x" * 3_000), 80, 24)
    assert max(map(len, lines)) <= 80
    assert all(visible(line) == line for line in lines)
    assert not any(line.startswith("forged") for line in lines)


def test_json_has_moments_as_text() -> None:
    row = json.loads(json.dumps(shown(service(2, 1))))
    assert row["at"] == row["partitions"][0]["sign"]["wall_clock"] == "2026-09-21T14:13:20.000Z"
    assert row["stages"]["8"] == 12_345


def test_a_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate(5.0)
    assert rate.add(0.0, 100) is None
    assert rate.add(1.0, 110) == 10
    assert [rate.add(float(second), 110) for second in (2, 3, 4)] == [5, 10 / 3, 2.5]
    assert rate.add(20.0, 110) == 0
    assert rate.add(20.0, 110) == 0
    assert rate.add(21.0, 5) == 0  # a topic that was made anew


def test_servers_are_counted_as_rows_change() -> None:
    counts = ServerCounts()
    counts.write({b"a": (1, "REPORTED"), b"b": (8, "BLOCKED")})
    counts.write({b"a": (8, "BLOCKED"), b"c": (0, "COMPLIANT")})
    counts.write({b"b": None, b"d": None})
    assert +counts.stages == {8: 1, 0: 1}
    assert +counts.statuses == {"BLOCKED": 1, "COMPLIANT": 1}
