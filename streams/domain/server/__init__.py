"""The life of one server: connections, its state, decisions and timers.

It may import `domain`.
"""
