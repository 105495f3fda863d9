"""Exchange as the mail shows it: builds and their catalogue, `Received` lines, and what these say of a server.

It may import the modules of `domain` that are in no package. Start with `detection.detect`.
"""
