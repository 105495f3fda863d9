"""What may be published beside what is known: the rules for versions of policies and catalogues.

A rule gives the reason against a publication as `field: value: rule`, None where there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from streams.domain.exchange.catalogue import Catalogue
from streams.domain.exchange.tables import Tables
from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import PublishedCatalogue, effective_policies


class PublicationError(ValueError):
    """A version that may not be published; the message names the field, the value and the rule."""


def require_future(effective_at: datetime, now: datetime) -> None:
    """Refuse a moment of which events may have been judged already.

    Raises:
        PublicationError: it is not after `now`.
    """
    if effective_at <= now:
        raise PublicationError(f"effective_at: {effective_at.isoformat()}: is in the past (now {now.isoformat()})")


# --- policies ---


def conflict(policy: Policy, known: Sequence[Policy]) -> str | None:
    """Why a policy cannot stand beside those known."""
    for other in known:
        if other.policy_id == policy.policy_id and other.version >= policy.version:
            return (
                f"version: {policy.version}: must be above {other.version}, the published version of {policy.policy_id}"
            )
    return same_moment(policy, known)


def same_moment(policy: Policy, known: Sequence[Policy]) -> str | None:
    """Why a policy cannot stand beside those known, as far as its moment goes."""
    for other in known:
        if other.effective_at == policy.effective_at:
            at = policy.effective_at.isoformat()
            return f"effective_at: {at}: {other.policy_id} version {other.version} already takes effect at this time"
    return None


def shared_moment(
    effective_at: datetime, policies: Iterable[Policy], catalogues: Iterable[PublishedCatalogue]
) -> str | None:
    """Why a policy and a catalogue must not begin at one moment: who falls by the second would not be told before."""
    taken = [
        f"{policy.policy_id} version {policy.version}" for policy in policies if policy.effective_at == effective_at
    ]
    taken += [f"catalogue {item.version}" for item in catalogues if item.effective_at == effective_at]
    return f"effective_at: {effective_at.isoformat()}: {taken[0]} already takes effect at this time" if taken else None


def unknown_line(policy: Policy, catalogue: Catalogue) -> str | None:
    """Why a policy cannot begin under a catalogue: it accepts a CU line that is not listed there."""
    for product, rule in policy.products.items():
        for floor in rule.floors:
            if not catalogue.knows_line(floor):
                return (
                    f"products.{product.value}.floors: {floor}: is of a CU line that is not in the catalogue "
                    f"in force at {policy.effective_at.isoformat()}"
                )
    return None


# --- catalogues ---


def catalogue_conflict(found: PublishedCatalogue, known: Sequence[PublishedCatalogue]) -> str | None:
    """Why a catalogue cannot stand beside those known."""
    for other in known:
        if other.version >= found.version:
            return f"version: {found.version}: must be above {other.version}, the published version"
        if other.effective_at == found.effective_at:
            return f"effective_at: {found.effective_at.isoformat()}: version {other.version} takes effect at this time"
    return None


def name_catalogue(version: int) -> str:
    """What a catalogue is called; version 0 is the built-in one."""
    return f"version {version}" if version else "the built-in catalogue"


def older_than(tables: Tables, before: Tables, version: int) -> str | None:
    """Why tables cannot follow those of a version: their newest day is an earlier one."""
    if tables.newest_day >= before.newest_day:
        return None
    return (
        f"release_date, fixed_date: {tables.newest_day}: is the newest day, and {name_catalogue(version)}, in force "
        f"before, goes up to {before.newest_day} (use --force to roll back)"
    )


def not_out_yet(tables: Tables, effective_at: datetime) -> str | None:
    """Why tables cannot be in force at a moment: they name an update that comes later."""
    day = effective_at.date().isoformat()
    for _, place, row in tables.named():
        for name in ("release_date", "fixed_date"):
            if row.get(name, "") > day:
                return f"{place}: {name}: {row[name]!r}: is after the day on which the catalogue takes effect ({day})"
    return None


def missing_line(
    published: PublishedCatalogue,
    catalogues: Iterable[PublishedCatalogue],
    policies: Sequence[Policy],
    configured: Sequence[Policy],
) -> str | None:
    """Why a catalogue cannot follow: a policy would lose a CU line that it accepts while both are in force.

    Args:
        published: what is to be published.
        catalogues: those published before.
        policies: those published before.
        configured: the policies that the settings name.
    """
    begins = published.effective_at
    ends = min((item.effective_at for item in catalogues if item.effective_at > begins), default=None)
    effective = sorted(effective_policies(configured, policies), key=lambda policy: policy.effective_at)
    governing = [policy for policy in effective if policy.effective_at <= begins][-1:] or effective[:1]
    to_come = [policy for policy in effective if policy.effective_at > begins]
    for policy in [*governing, *(policy for policy in to_come if ends is None or policy.effective_at < ends)]:
        for rule in policy.products.values():
            for floor in rule.floors:
                if not published.catalogue.knows_line(floor):
                    named = f"{policy.policy_id} version {policy.version}"
                    return f"builds: {floor}: no build of its CU line is listed, and {named} accepts it from there on"
    return None
