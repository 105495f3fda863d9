"""The life of one server: its state, what a connection, a command or a timer changes, and the records of that.

It may import every other package of `domain`. Start with `decide`; `observe`, `override` and `episode` are its parts.
"""
