"""Asks the read model. Every function takes a connection of a reading transaction, and the tenant or `ALL_TENANTS`.

Pages follow one another by keys, never by counting rows, so the hundredth costs what the first one does.
"""
