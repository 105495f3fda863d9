"""The application layer: loads states, lets the domain decide, hands back what to store and to emit.

It may import `state`, `policies`, `engine` and all below.
"""
