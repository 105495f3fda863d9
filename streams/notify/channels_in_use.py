"""The ways to destinations that are set up, by kind; what is for another kind waits."""

from __future__ import annotations

from collections.abc import Mapping

from streams.notices.model import Channel, DestinationKind
from streams.settings.notify import NotifySettings


def channels_of(settings: NotifySettings) -> Mapping[DestinationKind, Channel]:
    """The channels that the settings set up; none so far."""
    return {}
