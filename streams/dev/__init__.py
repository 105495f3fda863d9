"""What a developer needs and a worker does not: a Kafka of its own, schema checks, new catalogue tables.

It may import `telemetry`, `service` and all below, not `worker`, `operations` or `cli`.
"""
