"""How long whoever follows topics into tables waits, and how often it looks."""

from __future__ import annotations

from typing import NamedTuple


class Timing(NamedTuple):
    """In seconds."""

    answer: float = 30.0
    """Of one call of a client of Kafka."""
    stall: float = 30.0
    """Without any word of the brokers the client is thrown away."""
    look: float = 10.0
    """Between two looks whether the topics are still the same, and the lease is still held."""
    tick: float = 1.0
    """Between two notes of how current the tables are."""
    standby: float = 2.0
    """Between two looks whether another reader has gone."""
    stopped: float = 5.0
    """Between two looks whether somebody has put right what stopped the reader."""
    prune: float = 6 * 3600.0
    """Between two deletions of old history."""
    schema: float = 600.0
    """So long a schema is waited for that the registry does not know; then records of it are passed over."""
    first_retry: float = 0.5
    """After a failure; each further one waits twice as long."""
    last_retry: float = 10.0
    """The longest wait between two tries."""
    end: float = 20.0
    """So long a write may take that is under way when the process is to end."""
