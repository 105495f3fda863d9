"""Whose mail comes in: connectors from a file and from their topic, and which one a client comes through.

Only `topic` imports a Kafka client.
"""
