"""Moves records between the edge's disk and Kafka: verdicts in, events out.

Each part has a client of its own. One that fails or does not answer in time is thrown away and replaced, and the
others go on meanwhile.
"""
