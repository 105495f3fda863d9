"""What the service says: verdicts, notifications, server reports, and their words.

It may import `domain`.
"""
