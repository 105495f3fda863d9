"""The rules, as pure functions of their arguments: no I/O, no clock, no logging.

It imports the standard library only.
"""
