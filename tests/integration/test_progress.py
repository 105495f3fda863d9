"""Long work tells how far it is: what it says adds up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from streams.kafka.provisioning import create_topics
from streams.operations.backup.create import check_backup, create_backup
from streams.operations.backup.restore import restore_backup
from streams.operations.feeds import produce_feed
from streams.settings.worker import Settings
from tests.support.live import line, now_ms

CONNECTIONS = 20


@dataclass
class Told:
    """What a work told: its steps with their totals, and how far each came."""

    steps: list[tuple[str, int | None]] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    def begin(self, step: str, total: int | None = None) -> None:
        self.steps.append((step, total))
        self.done.append(0)

    def advance(self, records: int = 1) -> None:
        self.done[-1] += records

    def reach(self, done: int, total: int | None = None) -> None:
        self.done[-1] = done


@pytest.mark.timeout(120)
def test_a_backup_says_how_far_it_is(settings: Settings, tmp_path: Path) -> None:
    asyncio.run(create_topics(settings))
    asyncio.run(produce_feed(settings, [line(number, now_ms()) for number in range(CONNECTIONS)]))
    created, checked, restored = Told(), Told(), Told()
    asyncio.run(create_backup(settings, tmp_path / "backup", is_live=False, progress=created))
    ((step, total),) = created.steps
    assert step == "writing records"
    # Marks of transactions have offsets, and are no records.
    assert CONNECTIONS <= created.done[0] <= (total or 0)
    check_backup(tmp_path / "backup", checked)
    assert checked.steps == [("checking files", created.done[0])]
    assert checked.done == created.done
    target = replace(settings, topic_prefix=f"{settings.topic_prefix}again.", app_id=f"{settings.app_id}-again")
    asyncio.run(restore_backup(target, tmp_path / "backup", restored))
    assert restored.steps == [("checking files", created.done[0]), ("restoring records", created.done[0])]
    assert restored.done == created.done * 2
