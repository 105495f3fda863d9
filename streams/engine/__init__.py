"""Exactly-once processing of a partition: one Kafka transaction per unit of work. It knows nothing of mail.

It may import `kafka`, never `wire` or `domain`.
"""
