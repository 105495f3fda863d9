"""The two files that the door and sync share: verdicts, which sync writes, and the spool, which the door writes.

Both are SQLite in WAL mode. A reader never waits for a writer. A transaction survives the death of its process; the
last ones may be lost with the machine's power.
"""
