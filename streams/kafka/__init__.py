"""Kafka clients and the topics of the product; it knows neither mail nor Faust.

It may import `settings`, not `domain` or `wire`.
"""
