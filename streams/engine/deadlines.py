"""How long the end of a worker's work may take: every bound in one place, and how they add up.

A rebalance releases all partitions of the worker at once. Each of them, one step after the other:

    drain     half a session timeout     the unit in work commits, or is aborted
    cancel    CANCEL_SECONDS             its task ends
    close     3 x CLOSE_SECONDS          the merged input closes, the open transaction aborts, its producer closes

With the default session timeout of 10 s that is 5 + 0.5 + 9 = 14.5 s. It has to stay below RELEASE_SECONDS, which it
does up to a session timeout of 40 s. RELEASE_SECONDS has to stay below the 60 s that Faust allows a rebalance. A worker
that is told to end does the same, then leaves the group; it is ended by force after the drain and LEAVE_SECONDS.
"""

from __future__ import annotations

DRAIN_SHARE = 0.5
"""Of the session timeout: a rebalance waits for it, and a member that is silent for a session loses its partitions."""
RELEASE_SECONDS = 30.0
"""How long partitions may take to be given up; half of Faust's rebalance timeout."""
LEAVE_SECONDS = 20.0
"""How long a worker that is told to end may take beyond draining: to abort what is left, and leave the group."""
FAIL_SECONDS = 5.0
"""How long a worker that failed may take to end: its partitions belong to the next one."""


def drain_seconds(session_timeout_seconds: float) -> float:
    """How long a unit in work may take to commit once its partition is given up."""
    return session_timeout_seconds * DRAIN_SHARE
