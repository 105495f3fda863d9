"""Build catalogues: their tables, files and topic.

It may import what `policies` may.
"""
