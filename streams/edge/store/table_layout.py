"""What the table of verdicts holds: verdicts, connectors, the positions up to which they are known, and facts.

A reading from the beginning goes into `incoming` and becomes `verdict` in one step at its end: nobody sees a server's
old verdicts pass by again.
"""

from __future__ import annotations

from typing import Final

from streams.edge.store.database import Layout

VERDICT_TABLE: Final = "CREATE TABLE {}(key BLOB PRIMARY KEY, value BLOB NOT NULL)"
"""An empty value stands for a verdict that cannot be read."""
TABLE: Final = Layout(
    f"""
{VERDICT_TABLE.format("verdict")};
{VERDICT_TABLE.format("incoming")};
CREATE TABLE connector(key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE position(partition INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL);
CREATE TABLE status(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
""",
    1,
)
SOURCE: Final = "source"
"""Cluster and topic of the verdicts."""
COMPLETE_AT: Final = "complete_at"
"""When `verdict` last held all of them (UTC milliseconds)."""
BEGUN_AT: Final = "begun_at"
"""When reading into `incoming` began (UTC milliseconds)."""
IS_LOADING: Final = "is_loading"
"""Whether the positions are those of `incoming`."""
CONFIRMED_AT: Final = "confirmed_at"
CLOCK_SKEW: Final = "clock_skew"
SYNC_ALIVE_AT: Final = "sync_alive_at"
CONNECTORS_VERSION: Final = "connectors_version"
