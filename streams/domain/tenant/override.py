"""An override of one server, given by an operator."""

from __future__ import annotations

from typing import NamedTuple

from streams.domain.exchange.build import Build


class Override(NamedTuple):
    """A build to judge a server as, until a moment (UTC milliseconds) or until a higher stamp is seen."""

    build: Build
    ends_at: int
