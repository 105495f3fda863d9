"""The records that go out: verdicts with their reply lines, notifications, server reports.

It may import `domain.policy` and `domain.exchange`. The records are filled where their facts are: see `server.render`.
"""
