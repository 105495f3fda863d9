"""The rules, as pure functions of their arguments: no I/O, no clock, no logging. `edge` is all that an edge needs.

It imports the standard library only.
"""
