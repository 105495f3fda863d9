"""The process that tells people: it reads notifications, decides who is told and when, and delivers.

It may import what `report` may, and the ledger in `notices`. Channels, which reach destinations, are handed in.
"""
