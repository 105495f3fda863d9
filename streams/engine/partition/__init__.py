"""One partition at work: queues, units of work, the state view, restore, transactions.

It may import what `engine` may, and not Faust.
"""
