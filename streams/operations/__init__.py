"""What an operator does with the topics of the product: commands, dead letters, states, backup, repartition.

It may import `telemetry`, `service` and all below, not `worker`, `dev` or `cli`.
"""
