"""What the environment says: every `TES_` variable, read and checked.

It may import `domain`.
"""
