"""Exchange as the mail shows it: builds, the catalogue of them, `Received` lines, server names.

It may import `domain`.
"""
