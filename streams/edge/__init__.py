"""The edge: the `door` answers an MTA from verdicts on disk, `sync` moves verdicts and events between disk and Kafka.

It may import what `worker` may. Nothing that answers mail imports a Kafka client.
"""
