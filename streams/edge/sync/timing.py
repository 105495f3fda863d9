"""How long sync waits, and how often it looks."""

from __future__ import annotations

from typing import NamedTuple


class Timing(NamedTuple):
    """In seconds."""

    answer: float = 30.0
    """Of one call of a client."""
    stall: float = 30.0
    """Without any word of the brokers a consumer is thrown away."""
    delivery: float = 30.0
    """Until brokers have acknowledged events; then the producer is thrown away."""
    look: float = 10.0
    """Between two looks whether a topic is still the same."""
    linger: float = 2.0
    """So long events gather on disk after some were sent: a batch costs the brokers as much as an event."""
    glance: float = 0.1
    """Between two looks into the spool."""
    rest: float = 30.0
    """A partition that took no events is left alone for so long, where others took theirs."""
    tick: float = 1.0
    """Between two writings of what is known."""
    first_retry: float = 1.0
    """After a failure; each further one waits twice as long."""
    last_retry: float = 10.0
    """The longest wait between two tries."""
