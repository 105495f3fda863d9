"""What an operator sees and does beside the tables: dead letters, and the release of everybody."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from aiokafka.errors import KafkaError

from streams.domain.policy.policy import Mode, Policy
from streams.domain.policy.publication import PublicationError
from streams.errors import DependencyError
from streams.kafka.topics import TopicError
from streams.log_events import log_event
from streams.operations.dead_letters import DeadLetterFilter, read_letters
from streams.policies.modes import publish_mode
from streams.policies.topic import PolicyTopic
from streams.report.access.callers import Caller
from streams.report.web.commands import CommandsUnavailableError, Outcome, OutcomeKind
from streams.settings.report import ReportSettings

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 20.0
KEPT_SECONDS: Final = 60.0
"""How long a count of dead letters is shown: counting reads their topics."""

_OPEN: Final = DeadLetterFilter()


class Operating:
    """Answers the operator's page from Kafka."""

    def __init__(
        self, settings: ReportSettings, topic: PolicyTopic, configured: Sequence[Policy], clock: Callable[[], float]
    ) -> None:
        """Nothing is connected. `clock` gives seconds that never go back."""
        self._settings, self._topic, self._configured, self._clock = settings, topic, configured, clock
        self._counting: asyncio.Task[int | None] | None = None
        self._counted_at = float("-inf")

    async def dead_letters(self) -> int | None:
        """See `OperatorPort`; who asks meanwhile shares one count."""
        if self._counting is None or self._clock() - self._counted_at > KEPT_SECONDS:
            self._counted_at = self._clock()
            self._counting = asyncio.create_task(self._count())
        return await asyncio.shield(self._counting)

    async def _count(self) -> int | None:
        count = 0
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                async for _ in read_letters(self._settings, _OPEN):
                    count += 1
        except (KafkaError, TopicError, DependencyError, TimeoutError):
            return None
        return count

    async def release_all(self, caller: Caller, reason: str) -> Outcome:
        """See `OperatorPort`."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                policy, _ = await publish_mode(
                    self._topic, self._settings.app_id, self._configured, Mode.REPORT, caller.name
                )
        except PublicationError as error:
            return Outcome("", OutcomeKind.REFUSED, str(error))
        except (KafkaError, TopicError, DependencyError, TimeoutError) as error:
            raise CommandsUnavailableError(str(error)) from error
        name = f"{policy.policy_id}/{policy.version}"
        about = log_event("report_released_all", by=caller.name, why=reason, policy=name)
        log.warning("everybody is released by %s: %s", caller.name, reason, extra=about)
        return Outcome(name, OutcomeKind.ACCEPTED, reason)
