"""What is stored for a server and a tenant: keys, rows and the store that holds them.

It may import `engine`, `wire`, `kafka` and all below.
"""
