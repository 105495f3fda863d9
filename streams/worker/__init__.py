"""The process that judges connections: `app` composes it, the other modules are steps of a record.

It may import everything but `cli`.
"""
