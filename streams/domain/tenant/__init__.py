"""What administrators of a tenant may do: commands, pauses, exceptions, their quota.

It may import `domain`.
"""
