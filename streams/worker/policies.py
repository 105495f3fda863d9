"""The policies and catalogues in force: follows their topics, holds the rulebook that processors decide by, logs."""

from __future__ import annotations

import logging

from streams.clock import wall_clock_ms
from streams.domain.policy.rulebook import Rulebook
from streams.log_events import log_event
from streams.policies.configured import configured_policies, policy_topic_of
from streams.policies.reader import PublishedReader, follow
from streams.policies.topic import Published
from streams.settings.worker import Settings
from streams.worker.wiring import rulebook_of

log = logging.getLogger(__name__)


class PoliciesInForce:
    """The rulebook in force; a set of policies that cannot stand together is refused, and the one in force stays."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reader = PublishedReader(policy_topic_of(settings), configured_policies(settings))
        self._rulebook = rulebook_of(settings)
        self._logged_policy: tuple[str, int, str] | None = None
        self._logged_catalogue = 0

    async def load(self) -> None:
        """Read what is published by now; before the first record, since all of it may decide about that."""
        await self._reader.start()
        self._update(self._reader.published)

    async def follow(self) -> None:
        """Take over what is published from now on; ends only with an error."""
        await follow(self._reader, self._update)

    def rulebook(self) -> Rulebook:
        """What processors decide by now."""
        return self._rulebook

    def governing(self) -> tuple[str, int, str]:
        """Id, version and mode of the policy that governs now."""
        policy = self._rulebook.policy_at(wall_clock_ms())
        return policy.policy_id, policy.version, policy.mode.value

    def catalogue_version(self) -> int:
        """The version of the catalogue in force now, 0 for the built-in one."""
        return self._rulebook.catalogue_version_at(wall_clock_ms())

    def shown(self) -> dict[str, dict[str, str]]:
        """The policy and the catalogue in force now, as labels of metrics."""
        policy_id, version, mode = self.governing()
        return {
            "policy": {"policy_id": policy_id, "policy_version": str(version), "mode": mode},
            "catalogue": {"catalogue_version": str(self.catalogue_version())},
        }

    def log_switches(self) -> None:
        """Log when another policy or catalogue is in force than before."""
        governing, catalogue = self.governing(), self.catalogue_version()
        if governing != self._logged_policy:
            self._logged_policy = governing
            names = ("policy_id", "policy_version", "mode")
            about = log_event("policy_switched", **dict(zip(names, governing, strict=True)))
            log.info("policy in force: %s version %d (%s)", *governing, extra=about)
        if catalogue != self._logged_catalogue:
            self._logged_catalogue = catalogue
            about = log_event("catalogue_switched", catalogue_version=catalogue)
            log.info("catalogue in force: version %d", catalogue, extra=about)

    def _update(self, published: Published) -> None:
        try:
            self._rulebook = rulebook_of(self._settings, published.policies, published.catalogues)
        except ValueError as error:
            log.error("rejected the published policies: %s", error, extra=log_event("policy_refused"))
        else:
            known = self._rulebook.fingerprint
            about = log_event("policies_loaded", policies=known)
            log.info("policies and catalogues, current and scheduled: %s", known, extra=about)
