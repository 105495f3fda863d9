"""The policies and catalogues in force and announced, followed for the report."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from streams.domain.outputs.server_report import ServerReport
from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import PublishedCatalogue, Rulebook, effective_policies
from streams.domain.validation import MalformedError
from streams.domain.whatif import Prediction, predict
from streams.log_events import log_event
from streams.policies.reader import PublishedReader, follow
from streams.policies.topic import PolicyTopic, Published
from streams.report.web.coming import AnnouncedPolicy, Hit
from streams.wire.policy import from_millis, to_millis
from streams.wire.server_report import report_of_record

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 5.0


class RulesInForce:
    """What is in force and announced; a set that cannot stand together is refused, and the one in force stays.

    Until the topics were read it is what the settings name.
    """

    def __init__(self, topic: PolicyTopic, configured: Sequence[Policy]) -> None:
        """Nothing is read yet."""
        self._topic, self._configured = topic, configured
        self._take(Published())

    def _take(self, published: Published) -> None:
        try:
            policies = effective_policies(self._configured, published.policies)
            self._rulebook = Rulebook(policies, self._topic.catalogue, catalogues=published.catalogues)
        except ValueError as error:
            log.error("rejected the published policies: %s", error, extra=log_event("policy_refused"))

    async def run(self) -> None:
        """Follow both topics for ever; a cluster that does not answer is asked again."""
        is_told = False
        while True:
            reader = PublishedReader(self._topic, self._configured)
            try:
                await reader.start()
                self._take(reader.published)
                is_told = False
                await follow(reader, self._take)
            except Exception as error:  # noqa: BLE001 - a cluster fails in many ways, and the page shows what it has
                if not is_told:
                    about = log_event("report_policies_unread", error=type(error).__name__)
                    log.warning("the policies cannot be read: %s", error, extra=about)
                is_told = True
            finally:
                await reader.stop()
            await asyncio.sleep(RETRY_SECONDS)

    def quota_days(self, now: int) -> int:
        """See `ComingPort`."""
        return self._rulebook.policy_at(now).pause_days_per_year

    def announced(self, now: int) -> list[AnnouncedPolicy]:
        """See `ComingPort`."""
        found = [
            AnnouncedPolicy(_name(policy), at, to_millis(policy.announced_at), policy.mode.name)
            for policy in self._rulebook.policies
            if (at := to_millis(policy.effective_at)) > now
        ]
        found += [
            AnnouncedPolicy(_catalogue_name(one), at, to_millis(one.announced_at), None)
            for one in self._rulebook.catalogues
            if (at := to_millis(one.effective_at)) > now
        ]
        return sorted(found, key=lambda one: one.effective_at)

    def hits(self, reports: Sequence[dict[str, Any]], name: str, now: int) -> list[Hit]:
        """See `ComingPort`."""
        at = next((one.effective_at for one in self.announced(now) if one.name == name), None)
        if at is None:
            raise KeyError(name)
        with_it, without = self._until(at), self._until(at - 1)
        predictions = (predict(report, without, with_it, at) for report in _readable(reports))
        return [_hit(one) for one in predictions if one.is_change]

    def _until(self, at: int) -> Rulebook:
        """The rulebook without what begins later."""
        first, *others = self._rulebook.policies
        last = from_millis(at)
        policies = (first, *(policy for policy in others if policy.effective_at <= last))
        catalogues = tuple(one for one in self._rulebook.catalogues if one.effective_at <= last)
        return Rulebook(policies, self._topic.catalogue, catalogues=catalogues)


def _readable(reports: Sequence[dict[str, Any]]) -> Iterator[ServerReport]:
    """The reports that this version understands; of one that a newer version wrote, nothing is predicted."""
    for report in reports:
        with suppress(MalformedError):
            yield report_of_record(report)


def _name(policy: Policy) -> str:
    return f"{policy.policy_id}/{policy.version}"


def _catalogue_name(one: PublishedCatalogue) -> str:
    return f"catalogue/{one.version}"


def _hit(one: Prediction) -> Hit:
    before, after = one.before, one.after
    return Hit(
        one.server,
        None if one.build is None else str(one.build),
        before.finding.value,
        after.finding.value,
        before.stage,
        after.stage,
        before.action.value,
        after.action.value,
        one.reason,
        one.remedy and one.remedy.name,
        one.remedy and one.remedy.kb,
    )
