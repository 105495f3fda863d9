"""What administrators of a tenant may do: commands, pauses with their quota, exceptions, overrides.

It may import `domain.outputs`, `domain.policy` and `domain.exchange`.
"""
